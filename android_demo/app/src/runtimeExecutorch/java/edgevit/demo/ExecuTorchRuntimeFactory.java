package edgevit.demo;

import edgevit.core.Classifier;
import edgevit.core.Manifest;
import edgevit.core.ModelException;
import edgevit.core.RuntimeFactory;
import java.io.File;
import org.pytorch.executorch.Module;

/** Loads .pte files. */
final class ExecuTorchRuntimeFactory implements RuntimeFactory {
    @Override
    public String name() {
        return "ExecuTorch";
    }

    @Override
    public String target() {
        return "executorch";
    }

    @Override
    public String version() {
        return "unknown"; // Its Java API does not tell.
    }

    @Override
    public String accelerator() {
        return "CPU"; // XNNPACK, for which the files are lowered.
    }

    @Override
    public String chip() {
        return "";
    }

    @Override
    public Classifier load(File model, Manifest manifest, int threads) throws ModelException {
        try {
            Module module = Module.load(model.getPath(), Module.LOAD_MODE_MMAP, threads);
            return new ExecuTorchClassifier(module, manifest);
        } catch (RuntimeException e) {
            throw new ModelException("ExecuTorch refuses " + manifest.fileName + " (" + e.getMessage() + ")", e);
        } catch (LinkageError e) { // Its library is missing, or built for another kind of processor.
            throw new ModelException("ExecuTorch's native library does not load on this device (" + e.getMessage() + ")", e);
        }
    }
}
