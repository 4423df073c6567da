package edgevit.core;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** Turn what a model puts out into the classes that are shown. */
public final class Postprocess {
    private Postprocess() {}

    /** One class with its probability. */
    public static final class Prediction {
        public final int index;
        public final String label;
        public final double probability;

        public Prediction(int index, String label, double probability) {
            this.index = index;
            this.label = label;
            this.probability = probability;
        }
    }

    /**
     * Read raw output as floats.
     *
     * @param dtype float32, float16, int8 or uint8
     * @param scale of the integer types; their value is {@code (raw - zeroPoint) * scale}
     */
    public static void readOutputs(ByteBuffer raw, String dtype, float scale, int zeroPoint, float[] outputs) {
        raw.rewind();
        for (int i = 0; i < outputs.length; i++) {
            switch (dtype) {
                case "float32":
                    outputs[i] = raw.getFloat();
                    break;
                case "float16":
                    outputs[i] = Half.toFloat(raw.getShort());
                    break;
                case "int8":
                    outputs[i] = (raw.get() - zeroPoint) * scale;
                    break;
                default:
                    outputs[i] = ((raw.get() & 0xff) - zeroPoint) * scale;
            }
        }
    }

    /** Return how many bytes a value of the type takes. */
    public static int numBytes(String dtype) {
        return dtype.equals("float32") ? 4 : dtype.equals("float16") ? 2 : 1;
    }

    /** Return probabilities, in float64 and with the largest logit taken off first, so that nothing overflows. */
    public static double[] softmax(float[] logits) {
        double largest = Double.NEGATIVE_INFINITY;
        for (float logit : logits) {
            largest = Math.max(largest, logit);
        }
        double[] found = new double[logits.length];
        double total = 0;
        for (int i = 0; i < found.length; i++) {
            found[i] = Math.exp(logits[i] - largest);
            total += found[i];
        }
        for (int i = 0; i < found.length; i++) {
            found[i] /= total;
        }
        return found;
    }

    /**
     * Return the {@code count} largest classes, largest first; of equal ones the one that comes first in the labels.
     *
     * @param areProbabilities the model gave probabilities, which are shown as they are; otherwise logits
     * @throws ModelException if an output is no finite number
     */
    public static List<Prediction> top(float[] outputs, boolean areProbabilities, List<String> labels, int count)
            throws ModelException {
        for (float output : outputs) {
            if (Float.isNaN(output) || Float.isInfinite(output)) {
                throw new ModelException("the model put out " + output + " instead of a number; convert it again");
            }
        }
        double[] probabilities = areProbabilities ? widen(outputs) : softmax(outputs);
        boolean[] isTaken = new boolean[outputs.length];
        List<Prediction> found = new ArrayList<>();
        for (int n = 0; n < Math.min(count, outputs.length); n++) {
            int best = -1;
            for (int i = 0; i < outputs.length; i++) {
                if (!isTaken[i] && (best < 0 || outputs[i] > outputs[best])) {
                    best = i;
                }
            }
            isTaken[best] = true;
            found.add(new Prediction(best, labels.get(best), probabilities[best]));
        }
        return found;
    }

    private static double[] widen(float[] values) {
        double[] found = new double[values.length];
        for (int i = 0; i < found.length; i++) {
            found[i] = values[i];
        }
        return found;
    }
}
