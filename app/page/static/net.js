// Talking to our own routes. An answer that is not right becomes an Error with the server's one line.

async function ask(method, path, body, signal) {
  const options = { method, headers: {}, signal, credentials: 'same-origin' };
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (fault) {
    if (fault.name === 'AbortError') throw fault;
    throw new Error('The page’s server does not answer. What you did last may not be kept.');
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.message ?? told.detail ?? `The server answered ${answer.status}.`);
  }
  return answer;
}

export const get = async (path) => (await ask('GET', path)).json();
export const post = async (path, body = {}, signal) => (await ask('POST', path, body, signal)).json();
export const put = async (path, blob) => (await ask('PUT', path, blob)).json();
export const remove = async (path) => (await ask('DELETE', path)).json();

// Each line of the answer is one JSON document, given to `each` as it arrives.
export async function stream(path, body, each, signal) {
  const answer = await ask('POST', path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line) each(JSON.parse(line));
  }
}
