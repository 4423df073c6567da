package edgevit.demo;

import android.content.Context;
import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.BuiltinNpuAcceleratorProvider;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.Environment;
import com.google.ai.edge.litert.LiteRtException;
import edgevit.core.Classifier;
import edgevit.core.Fallback;
import edgevit.core.Manifest;
import edgevit.core.ModelException;
import edgevit.core.RuntimeFactory;
import java.io.File;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.TensorFlowLite;

/**
 * Loads .tflite files for one accelerator: by CompiledModel, or where that does not load, or cannot feed the model, by the Interpreter,
 * which runs on the CPU alone.
 */
final class LiteRtRuntimeFactory implements RuntimeFactory {
    private final Context context;
    private final String accelerator;

    LiteRtRuntimeFactory(Context context, String accelerator) {
        this.context = context.getApplicationContext();
        this.accelerator = accelerator;
    }

    @Override
    public String name() {
        return "LiteRT";
    }

    @Override
    public String target() {
        return "tflite";
    }

    @Override
    public String version() {
        return TensorFlowLite.runtimeVersion();
    }

    @Override
    public String accelerator() {
        return accelerator;
    }

    @Override
    public String chip() {
        return accelerator.equals("NPU") ? DeviceFacts.chip() : "";
    }

    @Override
    public Classifier load(final File model, final Manifest manifest, final int threads) throws ModelException {
        return Fallback.load(accelerator, (asked, mayUseCpu) -> {
            if (!asked.equals(Fallback.CPU)) {
                return compiled(model, manifest, threads, asked, mayUseCpu);
            }
            try {
                return compiled(model, manifest, threads, asked, false);
            } catch (ModelException e) {
                return interpreted(model, manifest, threads);
            }
        });
    }

    private Classifier compiled(File model, Manifest manifest, int threads, String asked, boolean mayUseCpu) throws ModelException {
        CompiledModelClassifier.check(manifest);
        try {
            Accelerator wanted = Accelerator.valueOf(asked);
            Environment environment = wanted == Accelerator.NPU
                    ? Environment.create(context, new BuiltinNpuAcceleratorProvider(context))
                    : Environment.create(context);
            try {
                if (!environment.getAvailableAccelerators().contains(wanted)) {
                    throw new ModelException("this device offers LiteRT no " + asked);
                }
                CompiledModel.Options options = mayUseCpu
                        ? new CompiledModel.Options(wanted, Accelerator.CPU)
                        : new CompiledModel.Options(wanted);
                options.setCpuOptions(new CompiledModel.CpuOptions(threads, null, null));
                CompiledModel compiled = CompiledModel.create(model.getPath(), options, environment);
                return new CompiledModelClassifier(compiled, environment, manifest, asked);
            } catch (LiteRtException | ModelException e) {
                environment.close();
                throw e;
            }
        } catch (LiteRtException | RuntimeException e) {
            throw new ModelException("LiteRT refuses " + manifest.fileName + " (" + e.getMessage() + ")", e);
        } catch (LinkageError e) { // Its library is missing, or built for another kind of processor.
            throw new ModelException("LiteRT's native library does not load on this device (" + e.getMessage() + ")", e);
        }
    }

    private static Classifier interpreted(File model, Manifest manifest, int threads) throws ModelException {
        try {
            Interpreter.Options options = new Interpreter.Options().setNumThreads(threads).setUseXNNPACK(true);
            return new InterpreterClassifier(new Interpreter(model, options), manifest);
        } catch (RuntimeException e) {
            throw new ModelException("LiteRT refuses " + manifest.fileName + " (" + e.getMessage() + ")", e);
        } catch (LinkageError e) {
            throw new ModelException("LiteRT's native library does not load on this device (" + e.getMessage() + ")", e);
        }
    }
}
