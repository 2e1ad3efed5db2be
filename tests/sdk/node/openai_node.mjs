// openai-node: chat, streams, tools, typed answers, embeddings, models, responses, errors.
import assert from "node:assert/strict";

import OpenAI, { APIError, NotFoundError } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { EMBEDDING, HELLO, KEY, UNFINISHED, UNKNOWN, URL, WEATHER, run } from "./checks.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const tool = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

async function chat(model) {
  const { data, response } = await client.chat.completions
    .create({ model, messages: user(HELLO) })
    .withResponse();
  assert.match(data.choices[0].message.content, /hello/);
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.equal(data.usage.prompt_tokens + data.usage.completion_tokens, data.usage.total_tokens);
  assert.match(data._request_id, /^req_/);
  assert.ok(response.headers.get("x-turnout-model"));
}

async function stream(model) {
  let text = "";
  let usage = null;
  const asked = { model, messages: user(HELLO), stream: true };
  for await (const chunk of await client.chat.completions.create({
    ...asked,
    stream_options: { include_usage: true },
  })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.match(text, /hello/);
  assert.ok(usage.completion_tokens > 0);
  const whole = await client.chat.completions.stream({ model, messages: user(HELLO) }).finalContent();
  assert.equal(whole, text);
}

async function tools(model) {
  const messages = user(WEATHER);
  const first = await client.chat.completions.create({ model, messages, tools: [tool] });
  const [call] = first.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
  messages.push(first.choices[0].message);
  messages.push({ role: "tool", tool_call_id: call.id, content: "sunny" });
  const second = await client.chat.completions.create({ model, messages, tools: [tool] });
  assert.match(second.choices[0].message.content, /sunny/);
}

async function streamed_tools(model) {
  const runner = client.chat.completions.stream({ model, messages: user(WEATHER), tools: [tool] });
  const message = await runner.finalMessage();
  assert.deepEqual(
    message.tool_calls.map((call) => JSON.parse(call.function.arguments)),
    [{ city: "Paris" }],
  );
}

async function typed(model) {
  const City = z.object({ name: z.string(), people: z.number().int() });
  const answer = await client.chat.completions.parse({
    model,
    messages: user("Describe Paris"),
    response_format: zodResponseFormat(City, "city"),
  });
  assert.equal(answer.choices[0].message.parsed.people, 1);
}

async function responses(model) {
  const answer = await client.responses.create({ model, input: HELLO });
  assert.match(answer.output_text, /hello/);
  let text = "";
  for await (const event of await client.responses.create({ model, input: HELLO, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal(text, answer.output_text);
}

async function completions(model) {
  const answer = await client.completions.create({ model, prompt: HELLO, max_tokens: 50 });
  assert.match(answer.choices[0].text, /hello/);
}

async function embeddings() {
  const [plain, packed, floats] = await Promise.all(
    [undefined, "base64", "float"].map((encoding_format) =>
      client.embeddings.create({ model: EMBEDDING, input: ["hello", "a b c"], encoding_format }),
    ),
  );
  assert.equal(plain.data[1].embedding.length, 1536);
  assert.deepEqual(plain.data[0].embedding, floats.data[0].embedding.map(Math.fround));
  assert.equal(typeof packed.data[0].embedding, "string"); // asked for, so left as it is
  assert.ok(plain.usage.prompt_tokens > 0);
}

async function models() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("anthropic/claude-sonnet"));
  assert.equal((await client.models.retrieve("openai/gpt-4o")).id, "openai/gpt-4o");
}

async function unfinished() {
  const asked = { model: UNFINISHED, messages: user(HELLO), stream: true };
  const told = await client.chat.completions.create(asked);
  await assert.rejects(async () => {
    for await (const _ of told);
  }, APIError);
}

async function unknown() {
  const asked = client.chat.completions.create({ model: UNKNOWN, messages: user(HELLO) });
  await assert.rejects(asked, (error) => {
    assert.ok(error instanceof NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.match(error.requestID, /^req_/);
    return true;
  });
}

await run([
  chat,
  stream,
  tools,
  streamed_tools,
  typed,
  responses,
  completions,
  embeddings,
  models,
  unfinished,
  unknown,
]);
