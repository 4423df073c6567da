package edgevit.core;

import edgevit.core.Postprocess.Prediction;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** One example of every state of the screen, for tests and for the drawn screens. The figures are made up. */
final class States {
    private States() {}

    static Map<String, UiState> all() {
        double[] latencies = new double[50];
        for (int i = 0; i < latencies.length; i++) {
            latencies[i] = 4200 + 37 * (i * 7 % 50);
        }
        List<Prediction> top = Arrays.asList(
                new Prediction(8, "golf ball", 0.914), new Prediction(4, "church", 0.052), new Prediction(9, "parachute", 0.008));
        List<Prediction> before = Arrays.asList(new Prediction(4, "church", 0.973), new Prediction(9, "parachute", 0.61));
        List<Prediction> vague = Arrays.asList(
                new Prediction(4, "church", 0.214), new Prediction(0, "tench", 0.187), new Prediction(7, "gas pump", 0.12));
        Map<String, UiState> all = new LinkedHashMap<>();
        all.put("loading", new UiState.Loading("levit_128s int8_qat"));
        all.put("ready", new UiState.Ready("CPU"));
        all.put("working", new UiState.Working());
        List<Prediction> none = Collections.emptyList();
        all.put("classified", new UiState.Classified(top, latencies, 0, 6100, false, before, new double[0]));
        all.put("unsure", new UiState.Classified(vague, latencies, 0, 5900, false, none, new double[0]));
        all.put("live", new UiState.Classified(top, latencies, 1900, 2300, true, none, frames()));
        all.put("warming_up", new UiState.Measuring(true, 14, 100, 0, 1));
        all.put("measuring", new UiState.Measuring(false, 62, 100, 0, 1));
        all.put("taking_turns", new UiState.Measuring(false, 9, 25, 2, 8));
        List<Benchmark.Result> quick = Arrays.asList(turn(0, 1000, 4200, 0));
        all.put("measured", measured(quick, 5, Collections.<String>emptyList()));
        List<Benchmark.Result> hot = Arrays.asList(turn(0, 60_000, 4200, 0.3));
        all.put("measured_long", measured(hot, 300, Arrays.asList("throttled", "not reproducible", "hot (light)")));
        all.put("compared", compared());
        all.put("stopped", new UiState.Measured(
                Collections.<Measurement>emptyList(), null, Collections.<double[]>emptyList(), Arrays.asList("failed: interrupted"), "{}"));
        all.put("no_model", Problems.noModel());
        String name = "levit_128s_int8.pte";
        all.put("manifest_missing", Problems.model(new ModelException(
                name + ": its manifest levit_128s_int8.pte.json is missing; convert again, or keep the two together")));
        all.put("model_damaged", Problems.model(new ModelException(
                name + ": not the file that its manifest describes (sha256 differs); convert again")));
        all.put("compared_missing", Problems.otherModel(new ModelException(
                "levit_128s_fp32.pte: its manifest levit_128s_fp32.pte.json is missing; convert again, or keep the two together")));
        all.put("no_runtime", Problems.noRuntime("tflite"));
        all.put("too_large", Problems.tooLarge(16320, 12240, 50_000_000));
        all.put("unreadable", Problems.unreadable(Text.of(Say.REASON_FORMAT)));
        all.put("long_and_narrow", Problems.picture(
                new PictureException("60000 x 1 pixels are too long and narrow; crop the picture first")));
        all.put("no_picker", Problems.noPicker());
        all.put("no_camera", Problems.noCamera());
        all.put("camera_refused", Problems.cameraRefused());
        all.put("camera_failed", Problems.cameraFailed(Text.of(Say.REASON_IN_USE)));
        return all;
    }

    private static UiState measured(List<Benchmark.Result> turns, int seconds, List<String> marks) {
        Measurement model = new Measurement("levit_128s_int8.pte", turns, 0);
        return new UiState.Measured(Collections.singletonList(model), null, temperatures(seconds), marks, "{}");
    }

    private static UiState compared() {
        List<Benchmark.Result> first = new ArrayList<>();
        List<Benchmark.Result> second = new ArrayList<>();
        double at = 0;
        for (int i = 0; i < Turns.OF_TWO; i++) {
            boolean isBackwards = i % 2 == 1; // A B, B A, as Turns does.
            first.add(turn(isBackwards ? at + 3.3 : at, 300, 4200 + 40 * i, 0));
            second.add(turn(isBackwards ? at : at + 1.7, 300, 9100 - 60 * i, 0));
            at += 5;
        }
        List<Measurement> models = Arrays.asList(
                new Measurement("levit_128s_int8.pte", first, 0), new Measurement("levit_128s_fp32.pte", second, 0));
        return new UiState.Measured(
                models, Turns.ratio(second, first), temperatures((int) at), Collections.<String>emptyList(), "[{}, {}]");
    }

    /** Return latencies as phones have them: most are near the fastest, a few are slow; {@code rise} is by how much they grow in all. */
    private static Benchmark.Result turn(double beginS, int count, double us, double rise) {
        Random random = new Random(count);
        Benchmark.Result made = new Benchmark.Result();
        made.samplesUs = new double[count];
        made.atNanos = new long[count];
        double nanos = beginS * 1e9;
        for (int i = 0; i < count; i++) {
            double tail = -Math.log(1 - random.nextDouble());
            double hot = Math.max(0, (double) i / count - 0.4) / 0.6;
            made.samplesUs[i] = us * (1 + 0.04 * random.nextDouble() + 0.05 * tail + rise * Math.min(1, 1.6 * hot));
            made.atNanos[i] = (long) nanos;
            nanos += 1000 * made.samplesUs[i];
        }
        return made;
    }

    private static List<double[]> temperatures(int seconds) {
        List<double[]> points = new ArrayList<>();
        for (int i = 0; i <= 10; i++) {
            points.add(new double[] {seconds * i / 10.0, 31 + (seconds > 60 ? 7 : 0.4) * (1 - Math.exp(-i / 4.0))});
        }
        return points;
    }

    private static double[] frames() {
        FrameRate rate = new FrameRate();
        for (int i = 0; i < 90; i++) {
            rate.add(i * 36_000_000L + (i % 17 == 3 ? 9_000_000L : 0) + (i > 50 ? (i - 50) * 3_000_000L : 0));
        }
        return rate.rates();
    }
}
