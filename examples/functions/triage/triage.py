"""Emergency triage: vital signs in, a priority out.

POST the vitals as JSON and get the National Early Warning Score 2 (Royal College of Physicians, 2017) with the
response it calls for; GET returns a page with a form. An example of code and placement, not a medical device.
"""

from hanse_guest import Request, Response

# Each band is (least value, points); the last band whose least value is reached counts. RCP, NEWS2, chart 1.
RESPIRATION = ((0, 3), (9, 1), (12, 0), (21, 2), (25, 3))
OXYGEN = ((0, 3), (92, 2), (94, 1), (96, 0))
SYSTOLIC = ((0, 3), (91, 2), (101, 1), (111, 0), (220, 3))
PULSE = ((0, 3), (41, 1), (51, 0), (91, 1), (111, 2), (131, 3))
TEMPERATURE = ((0, 3), (35.1, 1), (36.1, 0), (38.1, 1), (39.1, 2))
SCALES = {
    "respiration": (RESPIRATION, 0, 80),
    "oxygen": (OXYGEN, 50, 100),
    "systolic": (SYSTOLIC, 30, 300),
    "pulse": (PULSE, 0, 300),
    "temperature": (TEMPERATURE, 25, 45),
}

PAGE = """<!doctype html><meta charset="utf-8"><title>Triage</title>
<style>body{font:16px/1.5 system-ui;max-width:30rem;margin:3rem auto}label{display:flex;justify-content:space-between}
input{width:7rem}output{display:block;margin-top:1rem;font-weight:600}</style>
<h1>Triage</h1><form id="f">
<label>Respiration, per minute <input name="respiration" value="18"></label>
<label>Oxygen saturation, % <input name="oxygen" value="97"></label>
<label>Systolic pressure, mmHg <input name="systolic" value="120"></label>
<label>Pulse, per minute <input name="pulse" value="75"></label>
<label>Temperature, °C <input name="temperature" value="37.0"></label>
<label>Alert <input name="alert" type="checkbox" checked></label>
<button>Score</button></form><output id="o"></output>
<script>
f.onsubmit = async (event) => {
  event.preventDefault();
  const vitals = {alert: f.alert.checked, supplemental_oxygen: false};
  for (const input of f.querySelectorAll('input[value]')) vitals[input.name] = Number(input.value);
  const answer = await (await fetch(location.href, {method: 'POST', body: JSON.stringify(vitals)})).json();
  o.textContent = answer.error ?? `${answer.priority} (score ${answer.score}): ${answer.response}`;
};
</script>"""


def handle(request: Request) -> Response:
    if request.method in {"GET", "HEAD"}:
        return Response.html(PAGE)
    if request.method != "POST":
        return Response.json({"error": "use GET or POST"}, status=405)
    try:
        vitals = request.json()
    except ValueError:
        return Response.json({"error": "the body is not JSON"}, status=400)
    problem = check(vitals)
    if problem:
        return Response.json({"error": problem}, status=422)
    return Response.json(assess(vitals))


def check(vitals: object) -> str:
    """Say what is wrong with the vitals; empty if nothing is."""
    if not isinstance(vitals, dict):
        return "send a JSON object with " + ", ".join(SCALES)
    for name, (_, low, high) in SCALES.items():
        value = vitals.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{name} is missing or no number"
        if not low <= value <= high:
            return f"{name} is out of range {low} to {high}: {value}"
    return ""


def assess(vitals: dict) -> dict:
    """Score the vitals and name the priority and the response."""
    points = {name: band(vitals[name], scale) for name, (scale, _, _) in SCALES.items()}
    points["supplemental_oxygen"] = 2 if vitals.get("supplemental_oxygen", False) else 0
    points["consciousness"] = 0 if vitals.get("alert", True) else 3
    score = sum(points.values())
    if score >= 7:
        priority, response = "emergency", "emergency team now, continuous monitoring"
    elif score >= 5:
        priority, response = "urgent", "urgent review by a clinician, observe at least hourly"
    elif 3 in points.values():
        priority, response = "ward-urgent", "urgent ward review, observe at least hourly"
    elif score >= 1:
        priority, response = "low", "observe every 4 to 6 hours"
    else:
        priority, response = "routine", "observe every 12 hours"
    return {"score": score, "priority": priority, "response": response, "points": points}


def band(value: float, scale: tuple) -> int:
    """Points of the last band that `value` reaches."""
    return [points for least, points in scale if value >= least][-1]
