// The official client of npm. API and KEY name the appliance; test_node.py runs it with `node --test`.

"use strict";

const assert = require("node:assert");
const { test } = require("node:test");
const OpenAI = require("openai");

const BASE = "smollm2-135m-instruct";
const sdk = new OpenAI({ baseURL: process.env.API, apiKey: process.env.KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const greedy = { messages, max_tokens: 8, temperature: 0 };

for (const [model, answers] of [["base", BASE], ["legal", `${BASE}:legal@1`], ["finance", BASE]]) {
  test(`the cohort is chosen by the model's name: ${model}`, async () => {
    const { data, response } = await sdk.chat.completions.create({ model, ...greedy }).withResponse();
    assert.strictEqual(data.model, answers);
    assert.strictEqual(data.usage.completion_tokens, 8);
    assert.strictEqual(data._request_id, data.id);
    assert.strictEqual(response.headers.get("x-cohort"), model);
  });
}

test("a stream says what the whole answer says", async () => {
  const whole = await sdk.chat.completions.create({ model: "legal", ...greedy });
  const wants = { stream: true, stream_options: { include_usage: true } };
  const chunks = [];
  for await (const chunk of await sdk.chat.completions.create({ model: "legal", ...greedy, ...wants })) {
    chunks.push(chunk);
  }
  const text = chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
  assert.strictEqual(text, whole.choices[0].message.content);
  assert.strictEqual(chunks.at(-1).usage.completion_tokens, 8);
});

test("a stream can be left", async () => {
  const stream = await sdk.chat.completions.create({ model: "base", ...greedy, max_tokens: 1500, stream: true });
  let seen = 0;
  for await (const _chunk of stream) {
    seen += 1;
    if (seen === 3) break;
  }
  assert.ok(stream.controller.signal.aborted);
});

test("a schema is kept and parsed", async () => {
  const schema = {
    type: "object",
    properties: { city: { enum: ["Paris", "Rome"] } },
    required: ["city"],
    additionalProperties: false,
  };
  const format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
  const wants = { model: "base", ...greedy, max_tokens: 60, response_format: format };
  const reply = await sdk.chat.completions.parse(wants);
  assert.ok(["Paris", "Rome"].includes(reply.choices[0].message.parsed.city));
});

test("a text is scored", async () => {
  const prompt = "The capital of France is";
  const reply = await sdk.completions.create({ model: "base", prompt, max_tokens: 0, echo: true, logprobs: 1 });
  assert.strictEqual(reply.choices[0].logprobs.tokens.join(""), prompt);
});

test("models are listed", async () => {
  const names = [];
  for await (const model of sdk.models.list()) names.push(model.id);
  for (const name of ["auto", "base", BASE, "legal", "legal@1"]) assert.ok(names.includes(name), name);
  assert.strictEqual((await sdk.models.retrieve("legal@1")).owned_by, "legal@example.org");
});

for (const [change, kind, code, param] of [
  [{ model: "nobody" }, OpenAI.NotFoundError, "model_not_found", "model"],
  [{ temperature: 9 }, OpenAI.BadRequestError, "invalid_value", "temperature"],
  [{ tools: [{ type: "function", function: { name: "f" } }] }, OpenAI.BadRequestError, "invalid_value", "tools"],
]) {
  test(`errors are told: ${JSON.stringify(change)}`, async () => {
    await assert.rejects(sdk.chat.completions.create({ model: "base", ...greedy, ...change }), (error) => {
      assert.ok(error instanceof kind);
      assert.strictEqual(error.code, code);
      assert.strictEqual(error.param, param);
      return true;
    });
  });
}

test("an unknown key is told", async () => {
  const stranger = new OpenAI({ baseURL: process.env.API, apiKey: "ck_no_no", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});
