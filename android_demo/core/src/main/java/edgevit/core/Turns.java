package edgevit.core;

import java.util.ArrayList;
import java.util.List;

/** Measures one model, or two that take turns: A B, B A, ... so that a device that slows down does not pass for a faster model. */
public final class Turns {
    /** Of each of two models. */
    public static final int OF_TWO = 4;

    private Turns() {}

    /** Told after each inference: of which model, in which turn of all; returns false to break off. */
    public interface Progress {
        boolean on(int turn, int turns, boolean isWarmup, int done);
    }

    /**
     * Measure each model {@code each} times.
     *
     * @return for each model what its turns gave; the last turn is short, and those after it are not there, where {@code progress} broke off
     * @throws ModelException if an inference fails
     */
    public static List<List<Benchmark.Result>> run(
            List<Benchmark> models, Benchmark.Settings settings, int each, final Progress progress) throws ModelException {
        List<List<Benchmark.Result>> found = new ArrayList<>();
        for (int i = 0; i < models.size(); i++) {
            found.add(new ArrayList<>());
        }
        final int all = each * models.size();
        final boolean[] isOver = {false};
        for (int turn = 0; turn < all && !isOver[0]; turn++) {
            final int now = turn;
            int place = turn % models.size();
            boolean isBackwards = turn / models.size() % 2 == 1;
            int model = isBackwards ? models.size() - 1 - place : place;
            found.get(model).add(models.get(model).run(settings, (isWarmup, done) -> {
                isOver[0] = !progress.on(now, all, isWarmup, done);
                return !isOver[0];
            }));
        }
        return found;
    }

    /** Return the samples of all turns in order. */
    static double[] joined(List<Benchmark.Result> turns) {
        int count = 0;
        for (Benchmark.Result turn : turns) {
            count += turn.samplesUs.length;
        }
        double[] all = new double[count];
        int at = 0;
        for (Benchmark.Result turn : turns) {
            System.arraycopy(turn.samplesUs, 0, all, at, turn.samplesUs.length);
            at += turn.samplesUs.length;
        }
        return all;
    }

    /** Return the first model's latency over the second's, null where a turn of either is missing or empty. */
    public static double[] ratio(List<Benchmark.Result> mine, List<Benchmark.Result> theirs) {
        List<double[]> ours = samples(mine);
        List<double[]> others = samples(theirs);
        return ours.isEmpty() || ours.size() != others.size() ? null : LatencyStats.ratio(ours, others);
    }

    private static List<double[]> samples(List<Benchmark.Result> turns) {
        List<double[]> found = new ArrayList<>();
        for (Benchmark.Result turn : turns) {
            if (turn.samplesUs.length > 0) {
                found.add(turn.samplesUs);
            }
        }
        return found;
    }
}
