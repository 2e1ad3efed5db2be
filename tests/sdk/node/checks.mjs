// Runs the checks of one client, and prints what came of each: {"<check> <model>": null | why}.
// The counterpart of ../python/checks.py.

export const URL = `${process.env.TURNOUT_URL}/v1`;
export const KEY = "any key";
export const EMBEDDING = "text-embedding-3-small";
// Where the policy of the tests sends them: to OpenAI, to Groq, to Anthropic.
export const MODELS = ["gpt-4o", "gpt-4.1", "gpt-4o-mini"];
export const UNKNOWN = "no-such-model";
export const UNFINISHED = "gpt-3.5-turbo"; // its streams end in the middle, as if complete
export const HELLO = "Say hello.";
export const WEATHER = "Please call get_weather in Paris";

// Each check is run for each model, or once where it takes none.
export async function run(checks) {
  const told = {};
  for (const check of checks) {
    for (const model of check.length ? MODELS : [""]) {
      const name = `${check.name} ${model}`.trim();
      try {
        await check(model);
        told[name] = null;
      } catch (error) {
        told[name] = error.stack ?? String(error);
      }
    }
  }
  console.log(JSON.stringify(told));
}
