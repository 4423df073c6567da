{% if is_classifier -%}
classes = json.loads(Path("{{ file }}.json").read_text(encoding="utf-8"))["classes"]
for place in outputs.argsort()[::-1][:3]:
    print(classes[place]["name"], outputs[place]){% if is_logits %}  # a logit, no probability{% endif %}
{%- endif %}
