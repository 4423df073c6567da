package edgevit.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A measurement as JSON, in the format of edge_vit/devices/records.py, so that results of the app and of bench_arm share one table.
 *
 * <p>Confidence intervals are left out: bench_arm computes them from the samples.
 */
public final class BenchmarkRecord {
    private static final double MAX_DRIFT = 0.05;
    static final int MIN_RUNS = 50;
    /** From so long on the record tells latency over time apart from the samples. */
    private static final double SUSTAINED_SECONDS = 60;

    public String deviceName = "app";
    public String started = "";
    public Map<String, Object> device = Collections.emptyMap();
    public boolean isEmulated;
    public String runner = "";
    public String runnerVersion = "unknown";
    /** Which processor was asked for and which ran, in the words of {@link Classifier#accelerator}; null where there is one only. */
    public String acceleratorAsked;
    public String accelerator;
    public double loadUs;
    public Double peakKb;
    /** Why the run ended early, null if it did not. */
    public String stoppedBecause;
    /** The device before and after, from {@link #state}. */
    public Map<String, Object> before;
    public Map<String, Object> after;
    /** Latency over that of the model it took turns with, from {@link LatencyStats#ratio}; null for the first of two, or of one. */
    public double[] ratio;
    /** Pairs of seconds since the start and the battery's degrees Celsius. */
    public List<double[]> temperatures = Collections.emptyList();

    private final Manifest manifest;
    private final Benchmark.Settings settings;
    private final List<Benchmark.Result> turns;
    private final int turnsAsked;
    private final double[] samples;

    /**
     * @param settings of one turn
     * @param turns what was measured, in order; one where a model was measured by itself
     * @param turnsAsked more than there are where the measurement was broken off
     */
    public BenchmarkRecord(Manifest manifest, Benchmark.Settings settings, List<Benchmark.Result> turns, int turnsAsked) {
        this.manifest = manifest;
        this.settings = settings;
        this.turns = Collections.unmodifiableList(new ArrayList<>(turns));
        this.turnsAsked = turnsAsked;
        samples = Turns.joined(turns);
    }

    /** Return the whole record. An emulated machine's times mean nothing and are left out. */
    public String toJson() {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("model", manifest.fileName);
        all.put("model_sha256", manifest.fileSha256);
        all.put("model_bytes", manifest.fileBytes);
        all.put("device_name", deviceName);
        all.put("started", started);
        all.put("threads", settings.threads);
        all.put("cores", "all");
        all.put("max_drift", MAX_DRIFT);
        all.put("runs_asked", settings.runs);
        all.put("mask", null);
        all.put("emulated", isEmulated);
        all.put("device", device);
        Map<String, Object> program = new LinkedHashMap<>();
        program.put("name", "android_demo " + runner);
        program.put("version", runnerVersion);
        program.put("sha256", null);
        program.put("accelerator", accelerator);
        program.put("accelerator_asked", acceleratorAsked);
        all.put("runner", program);
        List<Object> rounds = new ArrayList<>();
        for (Benchmark.Result turn : turns) {
            rounds.add(round(turn, rounds.isEmpty()));
        }
        all.put("rounds", rounds);
        all.put("sustained", isEmulated || settings.seconds < SUSTAINED_SECONDS ? Collections.emptyList() : pairs(LatencyStats.curve(samples, 60), 1));
        all.put("temperatures", pairs(temperatures, 1));
        all.put("peak_kb", isEmulated ? null : peakKb);
        all.put("state_before", before);
        all.put("state_after", after);
        all.put("output_sha256", null);
        all.put("output_equals_host", null);
        all.put("is_complete", isComplete());
        all.put("failure", isComplete() ? null : failure());
        all.put("ratio", isEmulated || ratio == null ? null : ratioMap());
        all.put("figures", figures());
        return Json.write(all);
    }

    public double[] samplesUs() {
        return samples;
    }

    public String model() {
        return manifest.fileName;
    }

    private boolean isComplete() {
        boolean isComplete = turns.size() == turnsAsked;
        for (Benchmark.Result turn : turns) {
            isComplete &= turn.samplesUs.length >= settings.runs;
        }
        return isComplete;
    }

    private Map<String, Object> ratioMap() {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("value", ratio[0]);
        all.put("low", Double.isNaN(ratio[1]) ? null : ratio[1]);
        all.put("high", Double.isNaN(ratio[2]) ? null : ratio[2]);
        return all;
    }

    private Map<String, Object> failure() {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("kind", "interrupted");
        all.put("message", "stopped before all inferences were run" + (stoppedBecause == null ? "" : ": " + stoppedBecause));
        return all;
    }

    private Map<String, Object> round(Benchmark.Result turn, boolean isFirst) {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("repeat", 0);
        all.put("num_samples", turn.samplesUs.length);
        if (isEmulated) {
            return all;
        }
        all.put("samples_us", rounded(turn.samplesUs));
        all.put("summary", Collections.emptyMap());
        all.put("warmup_us", rounded(turn.warmupUs));
        all.put("load_us", isFirst ? rounded(loadUs, 1) : null);
        all.put("compile_us", null);
        all.put("first_us", rounded(turn.firstUs, 1));
        all.put("is_steady", turn.isSteady);
        return all;
    }

    /** What changes while a device works; null for what it does not tell. */
    public static final class State {
        /** Android's name of it, "none" to "shutdown". */
        public String thermalStatus;
        /** How near the limit of throttling the device is: 1 is at it. */
        public Double thermalHeadroom;
        public Integer batteryPercent;
        public Double batteryC;
        public Boolean isCharging;
        public Map<String, Object> clocksKhz = Collections.emptyMap();
        public boolean isForeground;
        public boolean isCameraOpen;
        public Boolean isPowerSaving;

        public Map<String, Object> toMap() {
            Map<String, Object> all = new LinkedHashMap<>();
            all.put("thermal_status", thermalStatus);
            all.put("thermal_headroom", thermalHeadroom == null ? null : rounded(thermalHeadroom, 3));
            all.put("battery_percent", batteryPercent);
            all.put("battery_c", batteryC);
            all.put("is_charging", isCharging);
            all.put("hottest_c", null);
            all.put("clocks_khz", clocksKhz);
            Map<String, Object> app = new LinkedHashMap<>();
            app.put("is_foreground", isForeground);
            app.put("is_camera_open", isCameraOpen);
            app.put("is_power_saving", isPowerSaving);
            all.put("app", app);
            return all;
        }
    }

    private Map<String, Object> figures() {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("num_samples", samples.length);
        if (!isEmulated && samples.length > 0) {
            all.put("unit", "ms");
            for (int percent : new int[] {50, 90, 99}) {
                all.put("p" + percent, rounded(LatencyStats.quantile(samples, percent) / 1000, 4));
                all.put("p" + percent + "_interval", null);
            }
            Double drift = drift();
            all.put("drift", drift == null ? null : rounded(drift, 4));
            all.put("is_throttled", isThrottled());
            all.put("spread", null);
            double firstUs = turns.get(0).firstUs;
            all.put("first_ms", rounded(firstUs / 1000, 4));
            all.put("cold_start_ms", rounded((loadUs + firstUs) / 1000, 4));
        }
        all.put("marks", marks());
        return all;
    }

    /** Return the largest drift within a turn: between turns the other model ran. */
    private Double drift() {
        Double worst = null;
        for (Benchmark.Result turn : turns) {
            Double drift = LatencyStats.drift(turn.samplesUs);
            worst = drift == null || worst != null && Math.abs(worst) >= Math.abs(drift) ? worst : drift;
        }
        return worst;
    }

    private boolean isThrottled() {
        boolean isThrottled = false;
        for (Benchmark.Result turn : turns) {
            isThrottled |= LatencyStats.isThrottled(turn.samplesUs);
        }
        return isThrottled;
    }

    /** Return what a reader must know before believing the figures. */
    public List<String> marks() {
        List<String> found = new ArrayList<>();
        if (isEmulated) {
            found.add("emulated");
        }
        if (!isComplete()) {
            found.add((samples.length > 0 ? "partial: " : "failed: ") + "interrupted");
        }
        if (isEmulated) {
            return found;
        }
        Double drift = drift();
        if (isThrottled()) {
            found.add("throttled");
        }
        if (drift != null && Math.abs(drift) > MAX_DRIFT) {
            found.add("not reproducible");
        }
        Object heat = after == null ? null : after.get("thermal_status");
        if (heat != null && !heat.equals("none")) {
            found.add("hot (" + heat + ")");
        }
        boolean isSteady = true;
        for (Benchmark.Result turn : turns) {
            isSteady &= turn.isSteady;
        }
        if (samples.length > 0 && !isSteady) {
            found.add("warm-up not steady");
        }
        if (samples.length > 0 && samples.length < MIN_RUNS) {
            found.add("under " + MIN_RUNS + " runs");
        }
        return found;
    }

    private static List<Object> pairs(List<double[]> points, int digits) {
        List<Object> found = new ArrayList<>();
        for (double[] point : points) {
            List<Object> pair = new ArrayList<>();
            pair.add(rounded(point[0], 3));
            pair.add(rounded(point[1], digits));
            found.add(pair);
        }
        return found;
    }

    private static List<Object> rounded(double[] values) {
        List<Object> found = new ArrayList<>();
        for (double value : values) {
            found.add(rounded(value, 1));
        }
        return found;
    }

    private static double rounded(double value, int digits) {
        double step = Math.pow(10, digits);
        return Math.rint(value * step) / step;
    }
}
