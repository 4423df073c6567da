package edgevit.core;

import edgevit.core.Postprocess.Prediction;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What the screen shows in a state: texts, bars, and what can be pressed. Views only copy it.
 *
 * <p>Plain values, so that tests and the drawn screens in android_demo/screens use the same as the app.
 */
public final class ScreenContent {
    public static final int NUM_ROWS = 3;
    /** From how many percent on a class counts; the reader chooses one. */
    public static final int[] THRESHOLDS = {0, 10, 20, 30, 50, 70, 90};
    public static final int DEFAULT_THRESHOLD = 30;

    public final Text message;
    /** Under the message, null for none. */
    public final Text hint;
    public final boolean isProblem;
    public final boolean isBusy;
    /** 0 to 100, or -1 while it is not known. */
    public final int progress;
    public final List<Row> rows = new ArrayList<>();
    /** Latency of each stage, and results of the pictures before. */
    public final List<Text> details = new ArrayList<>();
    public final boolean canClassify;
    public final boolean canMeasure;
    public final boolean canStop;
    public final boolean canShare;

    /** One class with its bar. */
    public static final class Row {
        public final String label;
        public final Text percent;
        /** 0 to 1000. */
        public final int bar;
        /** It reaches the threshold. */
        public final boolean isLikely;

        Row(Prediction prediction, int threshold) {
            label = prediction.label;
            percent = Text.of(Say.PERCENT, 100 * prediction.probability);
            bar = (int) Math.round(1000 * prediction.probability);
            isLikely = 100 * prediction.probability >= threshold;
        }
    }

    /** @param threshold in percent; where no class reaches it the message says so */
    public ScreenContent(UiState state, int threshold) {
        Text said = null;
        Text advice = null;
        int percent = -1;
        if (state instanceof UiState.Loading) {
            said = Text.of(Say.LOADING, ((UiState.Loading) state).title);
        } else if (state instanceof UiState.Ready) {
            said = Text.of(Say.READY);
            String runsOn = ((UiState.Ready) state).accelerator;
            advice = runsOn == null ? null : Text.of(Say.RUNS_ON, runsOn);
        } else if (state instanceof UiState.Working) {
            said = Text.of(Say.WORKING);
        } else if (state instanceof UiState.Classified) {
            UiState.Classified done = (UiState.Classified) state;
            for (Prediction prediction : done.top) {
                rows.add(new Row(prediction, threshold));
            }
            said = rows.isEmpty() || rows.get(0).isLikely ? null : Text.of(Say.UNSURE, threshold);
            tell(done);
        } else if (state instanceof UiState.Measuring) {
            UiState.Measuring now = (UiState.Measuring) state;
            said = now.isWarmup ? Text.of(Say.WARMING_UP, now.done) : Text.of(Say.MEASURING, now.done, now.total);
            percent = now.isWarmup ? -1 : Math.min(100, 100 * now.done / now.total);
        } else if (state instanceof UiState.Measured) {
            UiState.Measured done = (UiState.Measured) state;
            said = Text.of(done.samplesUs.length == 0 ? Say.BENCH_STOPPED : Say.BENCH_DONE);
            advice = done.marks.isEmpty() ? null : Text.raw(Words.list(done.marks));
            if (done.samplesUs.length > 0) {
                details.add(latency(done.samplesUs));
            }
        } else if (state instanceof UiState.Problem) {
            said = ((UiState.Problem) state).message;
            advice = ((UiState.Problem) state).hint;
        } else {
            throw new AssertionError(state);
        }
        message = said;
        hint = advice;
        progress = percent;
        isProblem = state instanceof UiState.Problem;
        canStop = state instanceof UiState.Measuring;
        isBusy = canStop || state instanceof UiState.Loading || state instanceof UiState.Working;
        boolean hasModel = !(isProblem && ((UiState.Problem) state).isModel);
        canClassify = hasModel && !isBusy;
        canMeasure = canClassify;
        canShare = state instanceof UiState.Measured && ((UiState.Measured) state).samplesUs.length > 0;
    }

    private void tell(UiState.Classified done) {
        details.add(latency(done.latenciesUs));
        if (done.isLive) {
            details.add(Text.of(Say.CONVERTING, done.convertUs / 1000));
        }
        details.add(Text.of(Say.PREPARING, done.preprocessUs / 1000));
        List<Text> before = new ArrayList<>();
        for (Prediction one : done.before) {
            before.add(Text.of(Say.RESULT, one.label, 100 * one.probability));
        }
        if (!before.isEmpty()) {
            details.add(Text.of(Say.BEFORE, Collections.unmodifiableList(before)));
        }
    }

    private static Text latency(double[] us) {
        return Text.of(Say.LATENCY, LatencyStats.quantile(us, 50) / 1000, LatencyStats.quantile(us, 90) / 1000, us.length);
    }

    /** Return everything as plain values, for the drawn screens. */
    public Map<String, Object> toMap() {
        List<Object> drawn = new ArrayList<>();
        for (Row row : rows) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("label", row.label);
            one.put("percent", row.percent.toMap());
            one.put("bar", row.bar);
            one.put("is_likely", row.isLikely);
            drawn.add(one);
        }
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("message", message == null ? null : message.toMap());
        all.put("hint", hint == null ? null : hint.toMap());
        all.put("is_problem", isProblem);
        all.put("is_busy", isBusy);
        all.put("progress", progress);
        all.put("rows", drawn);
        all.put("details", Text.maps(details));
        all.put("can_classify", canClassify);
        all.put("can_measure", canMeasure);
        all.put("can_stop", canStop);
        all.put("can_share", canShare);
        return all;
    }
}
