package edgevit.demo;

import android.content.Context;
import edgevit.core.Say;
import edgevit.core.Text;
import java.util.List;

/** Puts texts into the phone's language. */
final class Texts {
    /** One for each of {@link Say}, in its order; tests/android/test_texts.py compares the two. */
    private static final int[] IDS = {
        R.string.raw, R.string.loading, R.string.ready, R.string.runs_on, R.string.working, R.string.unsure, R.string.percent,
        R.string.result, R.string.before, R.string.latency, R.string.converting, R.string.preparing, R.string.warming_up,
        R.string.measuring, R.string.bench_done, R.string.bench_stopped, R.string.no_model, R.string.no_model_hint,
        R.string.other_model, R.string.no_runtime, R.string.no_runtime_hint, R.string.too_large, R.string.too_large_hint,
        R.string.unreadable, R.string.other_picture, R.string.unusable, R.string.no_picker, R.string.take_camera,
        R.string.no_camera, R.string.take_picture, R.string.camera_refused, R.string.camera_refused_hint, R.string.camera_failed,
        R.string.camera_failed_hint, R.string.reason_format, R.string.reason_damaged, R.string.reason_taken, R.string.reason_in_use,
        R.string.reason_disabled, R.string.reason_preview, R.string.reason_error, R.string.number, R.string.milliseconds,
        R.string.seconds, R.string.celsius, R.string.battery, R.string.frames, R.string.latencies, R.string.over_time,
        R.string.over, R.string.over_each, R.string.turn, R.string.ratio, R.string.ratio_range, R.string.mark_emulated, R.string.mark_partial,
        R.string.mark_throttled, R.string.mark_drift, R.string.mark_hot, R.string.mark_restless, R.string.mark_few, R.string.alone,
        R.string.pair, R.string.other_compared, R.string.inferring
    };

    private Texts() {}

    /** Return the words, none for null. */
    static String of(Context context, Text text) {
        if (text == null) {
            return "";
        }
        Object[] values = new Object[text.values.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = value(context, text.values.get(i));
        }
        return context.getString(IDS[text.say.ordinal()], values);
    }

    /** Return several, each with {@code between} in between. */
    static String of(Context context, List<?> texts, String between) {
        StringBuilder all = new StringBuilder();
        for (Object one : texts) {
            all.append(all.length() > 0 ? between : "").append(of(context, (Text) one));
        }
        return all.toString();
    }

    private static Object value(Context context, Object value) {
        if (value instanceof Text) {
            return of(context, (Text) value);
        }
        return value instanceof List ? of(context, (List<?>) value, ", ") : value;
    }
}
