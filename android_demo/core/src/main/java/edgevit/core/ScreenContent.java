package edgevit.core;

import edgevit.core.Postprocess.Prediction;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
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
    /** Of {@link Figures#values}. */
    public static final int[] PERCENTS = {50, 90, 99};
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
    /** One for each measured model. */
    public final List<Figures> figures = new ArrayList<>();
    public final List<Chart> charts = new ArrayList<>();
    /** Otherwise its place is the results'. */
    public final boolean hasPicture;
    /** What is shared as JSON, null for nothing. */
    public final String json;
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

    /** A measured model in numbers. */
    public static final class Figures {
        public final String name;
        /** The colour of its charts. */
        public final Chart.Ink ink;
        /** p50, p90 and p99. */
        public final List<Text> values = new ArrayList<>();

        Figures(Measurement model, Chart.Ink ink) {
            name = model.name;
            this.ink = ink;
            for (int percent : PERCENTS) {
                values.add(Text.of(Say.MILLISECONDS, LatencyStats.quantile(model.samplesUs, percent) / 1000));
            }
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
            advice = now.turns > 1 ? Text.of(Say.TURN, now.turn + 1, now.turns) : null;
            percent = now.isWarmup ? -1 : Math.min(100, 100 * now.done / now.total);
        } else if (state instanceof UiState.Measured) {
            UiState.Measured done = (UiState.Measured) state;
            said = Text.of(done.models.isEmpty() ? Say.BENCH_STOPPED : Say.BENCH_DONE);
            advice = done.marks.isEmpty() ? null : Text.of(Say.RAW, Marks.say(done.marks));
            if (!done.models.isEmpty()) {
                tell(done);
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
        hasPicture = figures.isEmpty();
        json = json(state);
        canShare = json != null;
    }

    private String json(UiState state) {
        if (state instanceof UiState.Measured && !figures.isEmpty()) {
            return ((UiState.Measured) state).json;
        }
        if (!(state instanceof UiState.Classified) || ((UiState.Classified) state).isLive) {
            return null;
        }
        UiState.Classified done = (UiState.Classified) state;
        List<Object> classes = new ArrayList<>();
        for (Prediction one : done.top) {
            Map<String, Object> plain = new LinkedHashMap<>();
            plain.put("index", (long) one.index);
            plain.put("name", one.label);
            plain.put("probability", one.probability);
            classes.add(plain);
        }
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("classes", classes);
        all.put("inference_us_p50", LatencyStats.quantile(done.latenciesUs, 50));
        all.put("preprocess_us", done.preprocessUs);
        return Json.write(all);
    }

    private void tell(UiState.Measured done) {
        for (Measurement model : done.models) {
            figures.add(new Figures(model, figures.isEmpty() ? Chart.Ink.FIRST : Chart.Ink.SECOND));
        }
        if (done.ratio != null) {
            String first = done.models.get(0).name;
            String second = done.models.get(1).name;
            boolean isBare = Double.isNaN(done.ratio[1]);
            details.add(isBare ? Text.of(Say.RATIO, second, done.ratio[0], first)
                    : Text.of(Say.RATIO_RANGE, second, done.ratio[0], first, done.ratio[1], done.ratio[2]));
        }
        details.add(Text.of(done.models.size() == 1 ? Say.OVER : Say.OVER_EACH, done.models.get(0).samplesUs.length));
        charts.add(Chart.histogram(done.models));
        charts.add(Chart.overTime(done.models, done.temperatures));
    }

    private void tell(UiState.Classified done) {
        details.add(latency(done.latenciesUs));
        Text preparing = Text.of(Say.PREPARING, done.preprocessUs / 1000);
        if (done.isLive) {
            Text converting = Text.of(Say.CONVERTING, done.convertUs / 1000);
            double[] us = {done.convertUs, done.preprocessUs, LatencyStats.quantile(done.latenciesUs, 50)};
            Text inferring = Text.of(Say.INFERRING, us[2] / 1000);
            charts.add(Chart.stages(Arrays.asList(converting, preparing, inferring), us));
        } else {
            details.add(preparing);
        }
        List<Text> before = new ArrayList<>();
        for (Prediction one : done.before) {
            before.add(Text.of(Say.RESULT, one.label, 100 * one.probability));
        }
        if (!before.isEmpty()) {
            details.add(Text.of(Say.BEFORE, Collections.unmodifiableList(before)));
        }
        Chart frames = Chart.frames(done.framesASecond);
        if (frames != null) {
            charts.add(frames);
        }
    }

    /** Return all that the screen says, line by line, to be shared as text. */
    public List<Text> toText() {
        List<Text> lines = new ArrayList<>();
        if (message != null) {
            lines.add(message);
        }
        if (hint != null) {
            lines.add(hint);
        }
        for (Row row : rows) {
            lines.add(Text.of(Say.PAIR, row.label, row.percent));
        }
        for (Figures one : figures) {
            List<Text> values = new ArrayList<>();
            values.add(Text.raw(one.name));
            for (int i = 0; i < PERCENTS.length; i++) {
                values.add(Text.of(Say.PAIR, "p" + PERCENTS[i], one.values.get(i)));
            }
            lines.add(Text.of(Say.RAW, values));
        }
        lines.addAll(details);
        return lines;
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
        List<Object> measured = new ArrayList<>();
        for (Figures one : figures) {
            Map<String, Object> plain = new LinkedHashMap<>();
            plain.put("name", one.name);
            plain.put("ink", one.ink.name().toLowerCase(Locale.ROOT));
            plain.put("values", Text.maps(one.values));
            measured.add(plain);
        }
        all.put("figures", measured);
        List<Object> plots = new ArrayList<>();
        for (Chart chart : charts) {
            plots.add(chart.toMap());
        }
        all.put("charts", plots);
        all.put("has_picture", hasPicture);
        all.put("json", json);
        all.put("text", Text.maps(toText()));
        all.put("can_classify", canClassify);
        all.put("can_measure", canMeasure);
        all.put("can_stop", canStop);
        all.put("can_share", canShare);
        return all;
    }
}
