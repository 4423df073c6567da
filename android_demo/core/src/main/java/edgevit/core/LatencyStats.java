package edgevit.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Latency figures, by the definitions of edge_vit/devices/stats.py. */
public final class LatencyStats {
    /** Fewer samples than this show no drift. */
    private static final int MIN_DRIFT_SAMPLES = 25;

    private static final double THROTTLED = 0.10;
    /** Of Student's t: how many standard errors a 95% interval reaches, by degrees of freedom from 1 on. */
    private static final double[] STUDENT_T = {12.7062, 4.3027, 3.1824, 2.7764};

    /** Models may take this many turns: the table above goes no further. */
    public static final int MAX_TURNS = STUDENT_T.length + 1;

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

    /**
     * Return the latency of A over that of B, measured in turns, with its 95% interval: value, low, high. The last two are NaN where
     * there is one turn, or where all agree to the last digit.
     *
     * @param mine the samples of A, one array for each turn; {@code theirs} those of B, as many
     */
    public static double[] ratio(List<double[]> mine, List<double[]> theirs) {
        int turns = mine.size();
        if (turns == 0 || turns != theirs.size() || turns > MAX_TURNS) {
            throw new IllegalArgumentException(turns + " turns against " + theirs.size() + "; expected 1 to " + MAX_TURNS + " of each");
        }
        double[] logs = new double[turns];
        double mean = 0;
        for (int i = 0; i < turns; i++) {
            logs[i] = Math.log(quantile(mine.get(i), 50) / quantile(theirs.get(i), 50));
            mean += logs[i] / turns;
        }
        double squares = 0;
        for (double log : logs) {
            squares += (log - mean) * (log - mean);
        }
        double spread = turns > 1 ? Math.sqrt(squares / (turns - 1)) : 0;
        double reach = spread > 1e-9 ? STUDENT_T[turns - 2] * spread / Math.sqrt(turns) : Double.NaN;
        return new double[] {Math.exp(mean), Math.exp(mean - reach), Math.exp(mean + reach)};
    }

    /** Return latency over time: at most about {@code points} pairs of seconds since the start and the median of that stretch. */
    public static List<double[]> curve(double[] samplesUs, int points) {
        double total = 0;
        for (double sample : samplesUs) {
            total += sample;
        }
        double stretch = total / Math.min(points, samplesUs.length);
        List<double[]> made = new ArrayList<>();
        double elapsed = 0;
        double begin = 0;
        int from = 0;
        for (int i = 0; i < samplesUs.length; i++) {
            elapsed += samplesUs[i];
            if (elapsed - begin >= stretch * 0.999 || i == samplesUs.length - 1) {
                made.add(new double[] {(begin + elapsed) / 2e6, quantile(Arrays.copyOfRange(samplesUs, from, i + 1), 50)});
                begin = elapsed;
                from = i + 1;
            }
        }
        return made;
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
