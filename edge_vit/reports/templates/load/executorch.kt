// build.gradle: implementation("org.pytorch:executorch-android:1.4.0")
// {{ file }} in the app's files
val module = Module.load(File(context.filesDir, "{{ file }}").path)

{% include "load/buffer.kt" %}
{% if input.dtype == "uint8" -%}
val tensor = Tensor.fromBlobUnsigned(input, longArrayOf({{ shape | join(", ") }}))
{%- elif input.dtype == "int8" -%}
val tensor = Tensor.fromBlob(input, longArrayOf({{ shape | join(", ") }}))
{%- else -%}
val tensor = Tensor.fromBlob(input.asFloatBuffer(), longArrayOf({{ shape | join(", ") }}))
{%- endif %}
{% if is_classifier -%}
val outputs = module.forward(EValue.from(tensor))[0].toTensor().dataAsFloatArray  // {{ output.kind }}
val best = outputs.indices.maxBy { outputs[it] }  // place in the manifest's classes
{%- else -%}
val maps = module.forward(EValue.from(tensor)).map { it.toTensor().dataAsFloatArray }
{%- endif %}
