"""The Python handler: a price list for a quantity, as JSON. `quote.js` is the same in JavaScript."""

from hanse_guest import Request, Response


def handle(request: Request) -> Response:
    quantity = int(request.query.get("quantity", "1"))
    rows = []
    total = 0
    for item in range(1, 41):
        price = item * item * 7 % 101 + 1
        discount = 10 if quantity >= 100 else 5 if quantity >= 10 else 0
        cost = price * quantity * (100 - discount)
        total += cost
        rows.append({"item": item, "price": price, "cost": cost})
    return Response.json({"quantity": quantity, "total": total, "rows": rows})
