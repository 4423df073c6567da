package edgevit.core;

import edgevit.core.Postprocess.Prediction;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * What the screen shows in a state: texts, bars, and what can be pressed. Views only copy it.
 *
 * <p>Plain values, so that tests and the drawn screens in android_demo/screens use the same as the app.
 */
public final class ScreenContent {
    public static final int NUM_ROWS = 3;

    public final String message;
    public final String hint;
    public final boolean isProblem;
    public final boolean isBusy;
    /** 0 to 100, or -1 while it is not known. */
    public final int progress;
    public final List<Row> rows = new ArrayList<>();
    public final String latency;
    public final boolean canClassify;
    public final boolean canMeasure;
    public final boolean canStop;
    public final boolean canShare;

    /** One class with its bar. */
    public static final class Row {
        public final String label;
        public final String percent;
        /** 0 to 1000. */
        public final int bar;

        Row(Prediction prediction) {
            label = prediction.label;
            percent = String.format(Locale.ROOT, "%.1f %%", 100 * prediction.probability);
            bar = (int) Math.round(1000 * prediction.probability);
        }
    }

    public ScreenContent(UiState state) {
        String said = "";
        String advice = "";
        String times = "";
        int percent = -1;
        if (state instanceof UiState.Loading) {
            said = "Loading " + ((UiState.Loading) state).title;
        } else if (state instanceof UiState.Ready) {
            said = "Choose a picture, or point the camera at something.";
            String runsOn = ((UiState.Ready) state).accelerator;
            advice = runsOn == null ? "" : "Runs on: " + runsOn;
        } else if (state instanceof UiState.Working) {
            said = "Classifying";
        } else if (state instanceof UiState.Classified) {
            UiState.Classified done = (UiState.Classified) state;
            for (Prediction prediction : done.top) {
                rows.add(new Row(prediction));
            }
            times = latencies(done.latenciesUs);
            times += done.isLive ? String.format(Locale.ROOT, "\nconverting the frame %.1f ms", done.convertUs / 1000) : "";
            times += String.format(Locale.ROOT, "\npreparing the picture %.1f ms", done.preprocessUs / 1000);
        } else if (state instanceof UiState.Measuring) {
            UiState.Measuring now = (UiState.Measuring) state;
            said = now.isWarmup ? "Warming up, inference " + now.done : "Measuring, inference " + now.done + " of " + now.total;
            percent = now.isWarmup ? -1 : Math.min(100, 100 * now.done / now.total);
        } else if (state instanceof UiState.Measured) {
            UiState.Measured done = (UiState.Measured) state;
            said = done.samplesUs.length == 0 ? "Benchmark stopped" : "Benchmark done";
            advice = Words.list(done.marks);
            times = done.samplesUs.length == 0 ? "" : latencies(done.samplesUs);
        } else if (state instanceof UiState.Problem) {
            said = ((UiState.Problem) state).message;
            advice = ((UiState.Problem) state).hint;
        } else {
            throw new AssertionError(state);
        }
        message = said;
        hint = advice;
        latency = times;
        progress = percent;
        isProblem = state instanceof UiState.Problem;
        canStop = state instanceof UiState.Measuring;
        isBusy = canStop || state instanceof UiState.Loading || state instanceof UiState.Working;
        boolean hasModel = !(isProblem && ((UiState.Problem) state).isModel);
        canClassify = hasModel && !isBusy;
        canMeasure = canClassify;
        canShare = state instanceof UiState.Measured && ((UiState.Measured) state).samplesUs.length > 0;
    }

    private static String latencies(double[] us) {
        return String.format(
                Locale.ROOT, "inference p50 %.1f ms, p90 %.1f ms over %d", LatencyStats.quantile(us, 50) / 1000,
                LatencyStats.quantile(us, 90) / 1000, us.length);
    }

    /** Return everything as plain values, for the drawn screens. */
    public Map<String, Object> toMap() {
        List<Object> drawn = new ArrayList<>();
        for (Row row : rows) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("label", row.label);
            one.put("percent", row.percent);
            one.put("bar", row.bar);
            drawn.add(one);
        }
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("message", message);
        all.put("hint", hint);
        all.put("is_problem", isProblem);
        all.put("is_busy", isBusy);
        all.put("progress", progress);
        all.put("rows", drawn);
        all.put("latency", latency);
        all.put("can_classify", canClassify);
        all.put("can_measure", canMeasure);
        all.put("can_stop", canStop);
        all.put("can_share", canShare);
        return all;
    }
}
