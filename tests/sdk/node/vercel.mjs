// The Vercel AI SDK: `openai.chat(model)` is chat completions, `openai(model)` is responses.
import assert from "node:assert/strict";

import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { EMBEDDING, HELLO, KEY, UNFINISHED, UNKNOWN, URL, WEATHER, run } from "./checks.mjs";

const openai = createOpenAI({ baseURL: URL, apiKey: KEY });
const kinds = (model) => [openai.chat(model), openai(model)];
const once = { maxRetries: 0 };

async function chat(model) {
  for (const kind of kinds(model)) {
    const answer = await generateText({ model: kind, prompt: HELLO, ...once });
    assert.match(answer.text, /hello/);
    assert.equal(answer.finishReason, "stop");
    assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0);
  }
}

async function stream(model) {
  for (const kind of kinds(model)) {
    const errors = [];
    const told = streamText({
      model: kind,
      prompt: HELLO,
      onError: ({ error }) => errors.push(error),
      ...once,
    });
    let text = "";
    for await (const part of told.textStream) text += part;
    assert.deepEqual(errors, []);
    assert.match(text, /hello/);
    assert.ok((await told.usage).outputTokens > 0);
  }
}

async function tools(model) {
  for (const kind of kinds(model)) {
    const asked = [];
    const answer = await generateText({
      model: kind,
      prompt: WEATHER,
      tools: {
        get_weather: tool({
          description: "The weather of a city",
          inputSchema: z.object({ city: z.string() }),
          execute: async ({ city }) => {
            asked.push(city);
            return `sunny in ${city}`;
          },
        }),
      },
      stopWhen: stepCountIs(3),
      ...once,
    });
    assert.deepEqual(asked, ["Paris"]);
    assert.match(answer.text, /sunny in Paris/);
  }
}

async function typed(model) {
  for (const kind of kinds(model)) {
    const { object } = await generateObject({
      model: kind,
      prompt: "Describe Paris",
      schema: z.object({ name: z.string(), people: z.number().int() }),
      ...once,
    });
    assert.equal(object.people, 1);
  }
}

async function embeddings() {
  const { embeddings: vectors, usage } = await embedMany({
    model: openai.embedding(EMBEDDING),
    values: ["hello", "a b c"],
    ...once,
  });
  assert.equal(vectors[1].length, 1536);
  assert.ok(usage.tokens > 0);
}

async function unfinished() {
  for (const kind of kinds(UNFINISHED)) {
    const errors = [];
    const onError = ({ error }) => errors.push(error);
    const told = streamText({ model: kind, prompt: HELLO, onError, ...once });
    await told.consumeStream();
    assert.equal(errors.length, 1);
    assert.match(JSON.stringify(errors[0]) + errors[0], /ended early/);
  }
}

async function unknown() {
  for (const kind of kinds(UNKNOWN)) {
    await assert.rejects(generateText({ model: kind, prompt: HELLO, ...once }), (error) => {
      assert.ok(APICallError.isInstance(error));
      assert.equal(error.statusCode, 404);
      assert.equal(error.data.error.code, "model_not_found");
      return true;
    });
  }
}

await run([chat, stream, tools, typed, embeddings, unfinished, unknown]);
