package edgevit.demo;

import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.Environment;
import com.google.ai.edge.litert.LiteRtException;
import com.google.ai.edge.litert.TensorBuffer;
import edgevit.core.Classifier;
import edgevit.core.Manifest;
import edgevit.core.ModelException;
import java.nio.ByteBuffer;
import java.util.List;

/** A .tflite in LiteRT, by CompiledModel. A run copies the input in and the output out, as its Kotlin interface asks. */
final class CompiledModelClassifier implements Classifier {
    private final CompiledModel model;
    private final Environment environment;
    private final Manifest manifest;
    private final String accelerator;
    private final List<TensorBuffer> inputs;
    private final List<TensorBuffer> outputs;
    private final byte[] bytes;
    private final float[] floats;

    CompiledModelClassifier(CompiledModel model, Environment environment, Manifest manifest, String accelerator)
            throws LiteRtException {
        this.model = model;
        this.environment = environment;
        this.manifest = manifest;
        this.accelerator = accelerator;
        inputs = model.createInputBuffers();
        outputs = model.createOutputBuffers();
        boolean isFloat = manifest.input.dtype.equals("float32");
        bytes = new byte[isFloat ? 0 : manifest.input.numBytes()];
        floats = new float[isFloat ? manifest.input.numBytes() / 4 : 0];
    }

    /**
     * Refuse a model that this interface cannot feed: it takes no half floats, and tells no scale of integer outputs.
     *
     * @throws ModelException if so
     */
    static void check(Manifest manifest) throws ModelException {
        if (manifest.input.dtype.equals("float16") || !manifest.outputDtype.equals("float32")) {
            throw new ModelException(
                    "CompiledModel does not feed " + manifest.input.dtype + " inputs and " + manifest.outputDtype + " outputs");
        }
    }

    @Override
    public void run(ByteBuffer input, float[] logits) throws ModelException {
        input.rewind();
        float[] found;
        try {
            if (floats.length > 0) {
                input.asFloatBuffer().get(floats);
                inputs.get(0).writeFloat(floats);
            } else {
                input.get(bytes);
                inputs.get(0).writeInt8(bytes);
            }
            model.run(inputs, outputs);
            found = outputs.get(0).readFloat();
        } catch (LiteRtException | RuntimeException e) {
            throw new ModelException("LiteRT failed on " + manifest.fileName + " (" + e.getMessage() + ")", e);
        }
        if (found.length != logits.length) {
            throw new ModelException(
                    manifest.fileName + " put out " + found.length + " values; its manifest names " + logits.length);
        }
        System.arraycopy(found, 0, logits, 0, found.length);
    }

    @Override
    public String accelerator() {
        return accelerator;
    }

    @Override
    public void close() {
        for (TensorBuffer buffer : inputs) {
            buffer.close();
        }
        for (TensorBuffer buffer : outputs) {
            buffer.close();
        }
        model.close();
        environment.close();
    }
}
