package edgevit.core;

import java.nio.ByteBuffer;
import java.util.Arrays;

/** Measure the latency of the inference call alone, the way edge_vit/devices/csrc/litert_runner.c does. */
public final class Benchmark {
    /** Warm-up is over when the medians of two neighbouring windows of this many inferences agree within STEADY. */
    private static final int WINDOW = 10;

    private static final double STEADY = 0.02;

    /** How long to warm up and to measure. */
    public static final class Settings {
        public final int threads;
        public final int warmupRuns;
        public final double warmupSeconds;
        public final double maxWarmupSeconds;
        public final int runs;
        public final double seconds;
        public final double maxSeconds;

        /** @throws IllegalArgumentException if a value makes no sense */
        public Settings(
                int threads, int warmupRuns, double warmupSeconds, double maxWarmupSeconds, int runs, double seconds,
                double maxSeconds) {
            require(threads >= 1 && threads <= 64, "threads", threads, "1 to 64");
            require(warmupRuns >= 0, "warmup_runs", warmupRuns, "0 or more");
            require(warmupSeconds >= 0, "warmup_seconds", warmupSeconds, "0 or more");
            require(maxWarmupSeconds >= warmupSeconds, "max_warmup_seconds", maxWarmupSeconds, "warmup_seconds or more");
            require(runs >= 1 && runs <= 100_000, "runs", runs, "1 to 100000");
            require(seconds >= 0, "seconds", seconds, "0 or more");
            require(maxSeconds >= seconds, "max_seconds", maxSeconds, "seconds or more");
            this.threads = threads;
            this.warmupRuns = warmupRuns;
            this.warmupSeconds = warmupSeconds;
            this.maxWarmupSeconds = maxWarmupSeconds;
            this.runs = runs;
            this.seconds = seconds;
            this.maxSeconds = maxSeconds;
        }

        /** Return the settings of one of several turns, which together take as long as this. */
        public Settings turn(int turns) {
            return new Settings(
                    threads, warmupRuns, warmupSeconds, maxWarmupSeconds, (runs + turns - 1) / turns, seconds / turns,
                    maxSeconds / turns);
        }

        private static void require(boolean isGood, String name, Number value, String allowed) {
            if (!isGood) {
                throw new IllegalArgumentException(name + " is " + value + "; allowed are " + allowed);
            }
        }
    }

    /** What came out, times in microseconds. */
    public static final class Result {
        public double firstUs;
        public double[] warmupUs = {};
        public double[] samplesUs = {};
        /** When each sample began, by the clock, in nanoseconds. */
        public long[] atNanos = {};
        public boolean isSteady;
    }

    /** Time, so that a test can hold it still. */
    public interface Clock {
        long nanos();
    }

    /** Told after each inference; returns false to break off. */
    public interface Progress {
        boolean on(boolean isWarmup, int done);
    }

    private final Classifier classifier;
    private final ByteBuffer input;
    private final float[] logits;
    private final Clock clock;

    public Benchmark(Classifier classifier, ByteBuffer input, float[] logits, Clock clock) {
        this.classifier = classifier;
        this.input = input;
        this.logits = logits;
        this.clock = clock;
    }

    /**
     * Run the first inference, warm up until steady, and measure.
     *
     * @return what was measured; fewer samples than asked for where {@code progress} broke off or time ran out
     * @throws ModelException if an inference fails
     */
    public Result run(Settings settings, Progress progress) throws ModelException {
        Result result = new Result();
        result.firstUs = once();
        if (warmUp(settings, progress, result)) {
            measure(settings, progress, result);
        }
        return result;
    }

    private boolean warmUp(Settings settings, Progress progress, Result result) throws ModelException {
        Samples samples = new Samples();
        long begin = clock.nanos();
        while (true) {
            double elapsed = (clock.nanos() - begin) / 1e9;
            boolean isEnough = samples.count >= settings.warmupRuns && elapsed >= settings.warmupSeconds;
            result.isSteady = samples.isSteady();
            result.warmupUs = samples.toArray();
            if (isEnough && (result.isSteady || elapsed >= settings.maxWarmupSeconds)) {
                return true;
            }
            samples.add(clock.nanos(), once());
            if (!progress.on(true, samples.count)) {
                return false;
            }
        }
    }

    private void measure(Settings settings, Progress progress, Result result) throws ModelException {
        Samples samples = new Samples();
        long begin = clock.nanos();
        while (true) {
            double elapsed = (clock.nanos() - begin) / 1e9;
            boolean isDone = samples.count >= settings.runs && elapsed >= settings.seconds;
            if (isDone || elapsed > settings.maxSeconds) {
                break;
            }
            samples.add(clock.nanos(), once());
            if (!progress.on(false, samples.count)) {
                break;
            }
        }
        result.samplesUs = samples.toArray();
        result.atNanos = Arrays.copyOf(samples.at, samples.count);
    }

    private double once() throws ModelException {
        long begin = clock.nanos();
        classifier.run(input, logits);
        return (clock.nanos() - begin) / 1e3;
    }

    /** A growing list of bare numbers; boxes would make garbage while measuring. */
    private static final class Samples {
        private double[] values = new double[1024];
        private long[] at = new long[1024];
        private int count;

        void add(long begin, double value) {
            if (count == values.length) {
                values = Arrays.copyOf(values, 2 * count);
                at = Arrays.copyOf(at, 2 * count);
            }
            at[count] = begin;
            values[count++] = value;
        }

        double[] toArray() {
            return Arrays.copyOf(values, count);
        }

        boolean isSteady() {
            if (count < 2 * WINDOW) {
                return false;
            }
            double before = LatencyStats.quantile(Arrays.copyOfRange(values, count - 2 * WINDOW, count - WINDOW), 50);
            double now = LatencyStats.quantile(Arrays.copyOfRange(values, count - WINDOW, count), 50);
            return Math.abs(before - now) < STEADY * now;
        }
    }
}
