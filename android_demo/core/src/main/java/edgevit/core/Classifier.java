package edgevit.core;

import java.nio.ByteBuffer;

/** A loaded model in one runtime. Used from one thread. */
public interface Classifier {
    /**
     * Run one inference.
     *
     * @param input what {@link Preprocess#write} wrote: direct, native byte order
     * @param outputs receives one value for each class, dequantized where the model puts out integers
     * @throws ModelException if the runtime fails; the message says what it said
     */
    void run(ByteBuffer input, float[] outputs) throws ModelException;

    /** Return which processor runs it: "CPU", "GPU", "NPU", or with what falls back, "GPU, rest on CPU". */
    String accelerator();

    /** Free native memory. The object must not be used any more. */
    void close();
}
