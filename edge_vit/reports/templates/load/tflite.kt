// build.gradle: implementation("com.google.ai.edge.litert:litert:1.4.2")
// {{ file }} and its manifest in assets/
val file = File(context.filesDir, "{{ file }}")
context.assets.open("{{ file }}").use { from -> file.outputStream().use { from.copyTo(it) } }
val interpreter = Interpreter(file, Interpreter.Options().setNumThreads(2))

{% include "load/buffer.kt" %}
{% if is_classifier -%}
val outputs = Array({{ shape[0] }}) { FloatArray({{ num_outputs }}) }  // {{ output.kind }}
interpreter.run(input, outputs)
val best = outputs[0].indices.maxBy { outputs[0][it] }  // place in the manifest's classes
{%- else -%}
val maps = (0 until interpreter.outputTensorCount).associateWith<Int, Any> {
    ByteBuffer.allocateDirect(interpreter.getOutputTensor(it).numBytes()).order(ByteOrder.nativeOrder())
}
interpreter.runForMultipleInputsOutputs(arrayOf(input), maps)
{%- endif %}
