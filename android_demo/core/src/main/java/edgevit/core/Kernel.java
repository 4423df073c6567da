package edgevit.core;

/**
 * Weights of one antialiased resampling pass, as calibration/preprocess.py spells them out in its step 4.
 *
 * <p>Everything is float64 in the order given there, up to the rounding to 22 bits behind the point; from then on integers only.
 */
final class Kernel {
    static final int PRECISION_BITS = 22;
    static final int HALF = 1 << (PRECISION_BITS - 1);

    /** For each output position from {@code begin} on: the first input position, and its weights. */
    final int[] first;
    final int[][] weights;

    private final int in;
    private final int out;
    private final int begin;
    private final boolean isBicubic;

    /**
     * @param in length of the input line
     * @param out length of the whole output line
     * @param begin first output position that is wanted
     * @param count number of output positions that are wanted
     */
    Kernel(int in, int out, int begin, int count, boolean isBicubic) {
        this.in = in;
        this.out = out;
        this.begin = begin;
        this.isBicubic = isBicubic;
        first = new int[count];
        weights = new int[count][];
        double scale = (double) in / out;
        double stretch = Math.max(scale, 1.0);
        double support = (isBicubic ? 2.0 : 1.0) * stretch;
        double inverse = 1.0 / stretch;
        for (int i = 0; i < count; i++) {
            double center = (begin + i + 0.5) * scale;
            first[i] = Math.max((int) (center - support + 0.5), 0);
            int last = Math.min((int) (center + support + 0.5), in);
            weights[i] = line(first[i], last, center, inverse);
        }
    }

    boolean isFor(int otherIn, int otherOut, int otherBegin, int otherCount) {
        return in == otherIn && out == otherOut && begin == otherBegin && first.length == otherCount;
    }

    private int[] line(int from, int to, double center, double inverse) {
        double[] raw = new double[to - from];
        double total = 0;
        for (int x = 0; x < raw.length; x++) {
            raw[x] = value((from + x - center + 0.5) * inverse);
            total += raw[x];
        }
        int[] fixed = new int[raw.length];
        for (int x = 0; x < raw.length; x++) {
            double weight = raw[x] / total;
            // Half away from zero, by truncation; Math.round would round half up.
            fixed[x] = (int) (weight * (1 << PRECISION_BITS) + (weight < 0 ? -0.5 : 0.5));
        }
        return fixed;
    }

    private double value(double distance) {
        double x = Math.abs(distance);
        if (!isBicubic) {
            return x < 1.0 ? 1.0 - x : 0.0;
        }
        double a = -0.5;
        if (x < 1.0) {
            return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
        }
        return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
    }
}
