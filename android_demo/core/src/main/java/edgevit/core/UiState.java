package edgevit.core;

import edgevit.core.Postprocess.Prediction;
import java.util.Collections;
import java.util.List;

/** What the screen is about; exactly one of the classes below. */
public abstract class UiState {
    private UiState() {}

    /** A model is being copied, checked and loaded. */
    public static final class Loading extends UiState {
        public final String title;

        public Loading(String title) {
            this.title = title;
        }
    }

    /** The model is loaded and waits for a picture. {@code accelerator}: what runs it, null where no model was loaded anew. */
    public static final class Ready extends UiState {
        public final String accelerator;

        public Ready(String accelerator) {
            this.accelerator = accelerator;
        }
    }

    /** A picture is being read and classified. */
    public static final class Working extends UiState {}

    /** Classes of a picture, or of the camera's last frame. */
    public static final class Classified extends UiState {
        public final List<Prediction> top;
        public final double[] latenciesUs;
        /** Of the camera's format, 0 for a picture. */
        public final double convertUs;
        public final double preprocessUs;
        public final boolean isLive;
        /** What the pictures before this one were taken for, the last first. */
        public final List<Prediction> before;
        /** Of the camera's last frames; none for a picture. */
        public final double[] framesASecond;

        public Classified(
                List<Prediction> top, double[] latenciesUs, double convertUs, double preprocessUs, boolean isLive,
                List<Prediction> before, double[] framesASecond) {
            this.framesASecond = framesASecond;
            this.top = Collections.unmodifiableList(top);
            this.before = Collections.unmodifiableList(before);
            this.latenciesUs = latenciesUs;
            this.convertUs = convertUs;
            this.preprocessUs = preprocessUs;
            this.isLive = isLive;
        }
    }

    /** The benchmark runs. {@code total} is the least number of inferences of a turn; one turn where one model is measured. */
    public static final class Measuring extends UiState {
        public final boolean isWarmup;
        public final int done;
        public final int total;
        public final int turn;
        public final int turns;

        public Measuring(boolean isWarmup, int done, int total, int turn, int turns) {
            this.isWarmup = isWarmup;
            this.done = done;
            this.total = total;
            this.turn = turn;
            this.turns = turns;
        }
    }

    /** The benchmark is over; {@code json} can be shared: one record, or a list of two. */
    public static final class Measured extends UiState {
        public final List<Measurement> models;
        /** Latency of the second over the first's, from {@link LatencyStats#ratio}; null where that was not measured. */
        public final double[] ratio;
        /** Pairs of seconds and the battery's degrees Celsius. */
        public final List<double[]> temperatures;
        public final List<String> marks;
        public final String json;

        public Measured(
                List<Measurement> models, double[] ratio, List<double[]> temperatures, List<String> marks, String json) {
            this.models = Collections.unmodifiableList(models);
            this.ratio = ratio;
            this.temperatures = Collections.unmodifiableList(temperatures);
            this.marks = marks;
            this.json = json;
        }
    }

    /** Something does not work, and what can be done. {@code isModel}: without another model nothing else works. */
    public static final class Problem extends UiState {
        public final Text message;
        public final Text hint;
        public final boolean isModel;

        public Problem(Text message, Text hint, boolean isModel) {
            this.message = message;
            this.hint = hint;
            this.isModel = isModel;
        }
    }
}
