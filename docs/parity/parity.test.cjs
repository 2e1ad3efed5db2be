// Does whatever answers at a base URL answer as OpenAI does? Five tests for a repository of your own.
//
//   npm install --save-dev jest openai
//   PARITY_BASE_URL=http://127.0.0.1:8080/v1 PARITY_API_KEY=any npx jest parity
//
// PARITY_MODEL (default gpt-4o-mini) and PARITY_EMBEDDING_MODEL (default text-embedding-3-small)
// name what your program asks for. Without PARITY_BASE_URL it asks OpenAI itself.
const { OpenAI } = require("openai");

const MODEL = process.env.PARITY_MODEL || "gpt-4o-mini";
const EMBEDDING_MODEL = process.env.PARITY_EMBEDDING_MODEL || "text-embedding-3-small";
const WORD = "turnout";
const messages = [{ role: "user", content: `Reply with the one word ${WORD} and nothing else.` }];

const client = new OpenAI({
  baseURL: process.env.PARITY_BASE_URL || "https://api.openai.com/v1",
  apiKey: process.env.PARITY_API_KEY || process.env.OPENAI_API_KEY,
});

jest.setTimeout(60_000);

test("a chat completion is whole", async () => {
  const answer = await client.chat.completions.create({ model: MODEL, messages });
  expect(answer.id).toMatch(/^chatcmpl-/);
  expect(answer.object).toBe("chat.completion");
  expect(Number.isInteger(answer.created)).toBe(true);
  expect(answer.created).toBeGreaterThan(1_600_000_000);
  expect(answer.choices).toHaveLength(1);
  const [choice] = answer.choices;
  expect(choice.index).toBe(0);
  expect(choice.message.role).toBe("assistant");
  expect(choice.message.content.toLowerCase()).toContain(WORD);
  expect(choice.finish_reason).toBe("stop");
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  expect(prompt_tokens).toBeGreaterThan(0);
  expect(completion_tokens).toBeGreaterThan(0);
  expect(total_tokens).toBe(prompt_tokens + completion_tokens);
});

test("a stream is made of chunks of one answer", async () => {
  const stream = await client.chat.completions.create({ model: MODEL, messages, stream: true });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  expect(chunks.length).toBeGreaterThan(1);
  for (const chunk of chunks) {
    expect(chunk.object).toBe("chat.completion.chunk");
    expect(chunk.id).toMatch(/^chatcmpl-/);
    expect(chunk.id).toBe(chunks[0].id);
    expect(chunk.choices).toHaveLength(1);
    expect(chunk.choices[0].delta).toBeDefined();
  }
  const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("");
  expect(text.toLowerCase()).toContain(WORD);
  expect(chunks.at(-1).choices[0].finish_reason).toBe("stop");
});

test("an embedding is a list of numbers", async () => {
  const answer = await client.embeddings.create({ model: EMBEDDING_MODEL, input: WORD });
  expect(answer.object).toBe("list");
  expect(answer.data).toHaveLength(1);
  expect(answer.data[0].object).toBe("embedding");
  expect(answer.data[0].index).toBe(0);
  expect(answer.data[0].embedding.length).toBeGreaterThan(100);
  expect(answer.data[0].embedding.every(Number.isFinite)).toBe(true);
  expect(answer.data[0].embedding.some((number) => number !== 0)).toBe(true);
  expect(answer.usage.prompt_tokens).toBeGreaterThan(0);
  expect(answer.usage.total_tokens).toBeGreaterThan(0);
});

test("an unknown model is refused", async () => {
  const asked = client.chat.completions.create({ model: "no-such-model-anywhere", messages });
  await expect(asked).rejects.toMatchObject({ status: 404, code: "model_not_found" });
});

test("temperature, max_tokens, top_p and penalties are accepted", async () => {
  const answer = await client.chat.completions.create({
    model: MODEL,
    messages,
    temperature: 0.2,
    max_tokens: 50,
    top_p: 0.9,
    frequency_penalty: 0.1,
    presence_penalty: 0.1,
  });
  expect(answer.choices[0].message.content.length).toBeGreaterThan(0);
  expect(answer.usage.completion_tokens).toBeLessThanOrEqual(50);
});
