package edgevit.core;

import java.io.File;

/** One of the runtimes that this app was built with. */
public interface RuntimeFactory {
    /** Return the name on the screen, such as "ExecuTorch". */
    String name();

    /** Return what the manifest calls files for it: "executorch" or "tflite". */
    String target();

    /** Return the version of its library, "unknown" where it does not tell. */
    String version();

    /** Return the processor that is asked for, in the words of {@link Classifier#accelerator}. */
    String accelerator();

    /** Return the chip whose compiled files it runs, as Android names it; "" where it runs portable files alone. */
    String chip();

    /**
     * Load a model.
     *
     * @throws ModelException if the runtime refuses the file, or was made for other files
     */
    Classifier load(File model, Manifest manifest, int threads) throws ModelException;
}
