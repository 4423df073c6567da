package edgevit.core;

import java.util.Arrays;

/** Latency figures, by the definitions of edge_vit/devices/stats.py. */
public final class LatencyStats {
    /** Fewer samples than this show no drift. */
    private static final int MIN_DRIFT_SAMPLES = 25;

    private static final double THROTTLED = 0.10;

    private LatencyStats() {}

    /** Return a quantile by linear interpolation between the neighbouring order statistics. */
    public static double quantile(double[] samples, double percent) {
        if (samples.length == 0) {
            throw new IllegalArgumentException("no samples to take a quantile of");
        }
        double[] ordered = samples.clone();
        Arrays.sort(ordered);
        double position = (ordered.length - 1) * percent / 100;
        int below = (int) Math.floor(position);
        int above = Math.min(below + 1, ordered.length - 1);
        return ordered[below] + (ordered[above] - ordered[below]) * (position - below);
    }

    /** Return the median of the last fifth over that of the first, less one; null for too few samples. */
    public static Double drift(double[] samples) {
        double[] medians = fifths(samples);
        return medians == null ? null : medians[4] / medians[0] - 1;
    }

    /** Return whether latency rose by over a tenth and stayed up: the machine slowed itself down. */
    public static boolean isThrottled(double[] samples) {
        double[] medians = fifths(samples);
        return medians != null
                && medians[4] / medians[0] - 1 > THROTTLED
                && Math.min(medians[3], medians[4]) > Math.max(medians[0], medians[1]);
    }

    private static double[] fifths(double[] samples) {
        if (samples.length < MIN_DRIFT_SAMPLES) {
            return null;
        }
        double[] medians = new double[5];
        for (int i = 0; i < 5; i++) {
            // Half to even, as Python's round does.
            int from = (int) Math.rint(i * samples.length / 5.0);
            int to = (int) Math.rint((i + 1) * samples.length / 5.0);
            medians[i] = quantile(Arrays.copyOfRange(samples, from, to), 50);
        }
        return medians;
    }
}
