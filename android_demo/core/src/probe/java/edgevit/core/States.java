package edgevit.core;

import edgevit.core.Postprocess.Prediction;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

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
        all.put("classified", new UiState.Classified(top, latencies, 0, 6100, false, before));
        all.put("unsure", new UiState.Classified(vague, latencies, 0, 5900, false, Collections.<Prediction>emptyList()));
        all.put("live", new UiState.Classified(top, latencies, 1900, 2300, true, Collections.<Prediction>emptyList()));
        all.put("warming_up", new UiState.Measuring(true, 14, 100));
        all.put("measuring", new UiState.Measuring(false, 62, 100));
        all.put("measured", new UiState.Measured(latencies, Arrays.asList("not reproducible"), "{}"));
        all.put("stopped", new UiState.Measured(new double[0], Collections.<String>emptyList(), "{}"));
        all.put("no_model", Problems.noModel());
        String name = "levit_128s_int8.pte";
        all.put("manifest_missing", Problems.model(new ModelException(
                name + ": its manifest levit_128s_int8.pte.json is missing; convert again, or keep the two together")));
        all.put("model_damaged", Problems.model(new ModelException(
                name + ": not the file that its manifest describes (sha256 differs); convert again")));
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
}
