package edgevit.demo;

import edgevit.core.Classifier;
import edgevit.core.Manifest;
import edgevit.core.ModelException;
import edgevit.core.Postprocess;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;

/** A .tflite in LiteRT, by its Interpreter: on the CPU, with every type of input and output. */
final class InterpreterClassifier implements Classifier {
    private final Interpreter interpreter;
    private final Manifest manifest;
    private final ByteBuffer output;
    private final float scale;
    private final int zeroPoint;

    InterpreterClassifier(Interpreter interpreter, Manifest manifest) throws ModelException {
        this.interpreter = interpreter;
        this.manifest = manifest;
        int inputBytes = interpreter.getInputTensor(0).numBytes();
        Tensor tensor = interpreter.getOutputTensor(0);
        int outputBytes = manifest.labels.size() * Postprocess.numBytes(manifest.outputDtype);
        if (inputBytes != manifest.input.numBytes() || tensor.numBytes() != outputBytes) {
            interpreter.close();
            throw new ModelException(
                    manifest.fileName + " takes " + inputBytes + " and gives " + tensor.numBytes() + " bytes; its manifest says "
                            + manifest.input.numBytes() + " and " + outputBytes);
        }
        scale = tensor.quantizationParams().getScale();
        zeroPoint = tensor.quantizationParams().getZeroPoint();
        output = ByteBuffer.allocateDirect(outputBytes).order(ByteOrder.nativeOrder());
    }

    @Override
    public void run(ByteBuffer input, float[] logits) throws ModelException {
        input.rewind();
        output.rewind();
        try {
            interpreter.run(input, output);
        } catch (RuntimeException e) {
            throw new ModelException("LiteRT failed on " + manifest.fileName + " (" + e.getMessage() + ")", e);
        }
        Postprocess.readOutputs(output, manifest.outputDtype, scale, zeroPoint, logits);
    }

    @Override
    public String accelerator() {
        return "CPU (Interpreter)";
    }

    @Override
    public void close() {
        interpreter.close();
    }
}
