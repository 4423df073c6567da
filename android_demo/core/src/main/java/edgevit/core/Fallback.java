package edgevit.core;

import java.nio.ByteBuffer;

/**
 * Tries an accelerator alone, then with the CPU for what it cannot run, then the CPU alone, and keeps what really runs.
 *
 * <p>Alone first, because a runtime that may use the CPU does not tell how much of the model went there; without it, it refuses a model
 * that it cannot run whole.
 */
public final class Fallback {
    public static final String CPU = "CPU";

    /** Loads a model on some processors. */
    public interface Loader {
        /** @throws ModelException if these processors cannot run it */
        Classifier load(String accelerator, boolean mayUseCpu) throws ModelException;
    }

    private Fallback() {}

    /**
     * Load a model on the accelerator that is asked for, or as near to it as this device allows.
     *
     * @return a classifier whose {@link Classifier#accelerator} says what runs
     * @throws ModelException what the CPU alone said, if not even that works
     */
    public static Classifier load(String asked, Loader loader) throws ModelException {
        if (!asked.equals(CPU)) {
            for (boolean mayUseCpu : new boolean[] {false, true}) {
                try {
                    return named(loader.load(asked, mayUseCpu), mayUseCpu ? asked + ", rest on CPU" : asked);
                } catch (ModelException e) {
                    continue; // The next step of the ladder; the last one tells why it fails.
                }
            }
        }
        Classifier onCpu = loader.load(CPU, false);
        return asked.equals(CPU) ? onCpu : named(onCpu, onCpu.accelerator() + " instead of " + asked);
    }

    private static Classifier named(final Classifier inner, final String name) {
        return new Classifier() {
            @Override
            public void run(ByteBuffer input, float[] outputs) throws ModelException {
                inner.run(input, outputs);
            }

            @Override
            public String accelerator() {
                return name;
            }

            @Override
            public void close() {
                inner.close();
            }
        };
    }
}
