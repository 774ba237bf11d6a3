// The JavaScript handler: a price list for a quantity, as JSON. `quote.py` is the same in Python.
export function handle(request) {
  const quantity = Number(new URL(request.url).searchParams.get('quantity') ?? 1);
  const rows = [];
  let total = 0;
  for (let item = 1; item <= 40; item++) {
    const price = ((item * item * 7) % 101) + 1;
    const discount = quantity >= 100 ? 10 : quantity >= 10 ? 5 : 0;
    const cost = price * quantity * (100 - discount);
    total += cost;
    rows.push({ item, price, cost });
  }
  const body = JSON.stringify({ quantity, total, rows });
  return new Response(body, { headers: { 'content-type': 'application/json' } });
}
