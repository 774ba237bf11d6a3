"""A job in pieces: it counts the primes below a limit, a stretch at a time, and hands on where it is.

A piece gets the checkpoint of the one before (nothing at first) as the body of a request. It answers 202 with the next
checkpoint while there is more to do, and 200 at the end; anything else is a failure, which is tried again.
"""

import json

from hanse_guest import Request, Response

LIMIT = 50_000
STRETCH = 5_000


def handle(request: Request) -> Response:
    """Do one piece."""
    at = json.loads(request.body) if request.body else {"from": 2, "primes": 0}
    until = min(at["from"] + STRETCH, LIMIT)
    at = {"from": until, "primes": at["primes"] + sum(map(is_prime, range(at["from"], until)))}
    print(f"{at['primes']} primes below {until}")
    if until < LIMIT:
        return Response.json(at, status=202)
    return Response.text(f"{at['primes']} primes below {LIMIT}\n")


def is_prime(number: int) -> bool:
    """Whether a number of 2 or more has no divisor but 1 and itself."""
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))
