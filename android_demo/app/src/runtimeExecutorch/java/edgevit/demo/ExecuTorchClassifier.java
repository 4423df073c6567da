package edgevit.demo;

import edgevit.core.Classifier;
import edgevit.core.Manifest;
import edgevit.core.ModelException;
import java.nio.ByteBuffer;
import org.pytorch.executorch.EValue;
import org.pytorch.executorch.Module;
import org.pytorch.executorch.Tensor;

/** A .pte in ExecuTorch. */
final class ExecuTorchClassifier implements Classifier {
    private final Module module;
    private final Manifest manifest;
    private final long[] shape;
    private ByteBuffer wrapped;
    private EValue input;

    ExecuTorchClassifier(Module module, Manifest manifest) throws ModelException {
        if (!manifest.outputDtype.equals("float32")) {
            throw new ModelException("ExecuTorch files put out float32 here, " + manifest.fileName + " " + manifest.outputDtype);
        }
        this.module = module;
        this.manifest = manifest;
        shape = new long[manifest.input.shape.length];
        for (int i = 0; i < shape.length; i++) {
            shape[i] = manifest.input.shape[i];
        }
    }

    @Override
    public void run(ByteBuffer bytes, float[] logits) throws ModelException {
        if (bytes != wrapped) { // The tensor is a view: new bytes in the same buffer need no new one.
            input = EValue.from(tensor(bytes));
            wrapped = bytes;
        }
        float[] found;
        try {
            found = module.forward(input)[0].toTensor().getDataAsFloatArray();
        } catch (RuntimeException e) {
            throw new ModelException("ExecuTorch failed on " + manifest.fileName + " (" + e.getMessage() + ")", e);
        }
        if (found.length != logits.length) {
            throw new ModelException(
                    manifest.fileName + " put out " + found.length + " values; its manifest names " + logits.length);
        }
        System.arraycopy(found, 0, logits, 0, found.length);
    }

    private Tensor tensor(ByteBuffer bytes) {
        bytes.rewind();
        switch (manifest.input.dtype) {
            case "uint8":
                return Tensor.fromBlobUnsigned(bytes, shape);
            case "int8":
                return Tensor.fromBlob(bytes, shape);
            case "float16":
                return Tensor.fromBlob(bytes.asShortBuffer(), shape);
            default:
                return Tensor.fromBlob(bytes.asFloatBuffer(), shape);
        }
    }

    @Override
    public String accelerator() {
        return "CPU";
    }

    @Override
    public void close() {
        module.destroy();
    }
}
