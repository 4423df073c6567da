package edgevit.demo;

import android.app.Instrumentation;
import android.content.Context;
import android.content.Intent;
import android.os.SystemClock;
import androidx.test.ext.junit.runners.AndroidJUnit4;
import androidx.test.platform.app.InstrumentationRegistry;
import edgevit.core.RuntimeFactory;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.junit.Test;
import org.junit.runner.RunWith;

/**
 * Measures every model of the app on every accelerator, for a farm of phones: each record lies in the app's files/bench folder, from
 * where the farm collects it. README.md says how for each farm; bench_arm --import reads what it gives back.
 */
@RunWith(AndroidJUnit4.class)
public final class BenchTest {
    private static final long WAIT_MS = 400_000;
    private static final int THREADS = 1;

    @Test
    public void everyModelOnEveryAccelerator() throws IOException {
        Instrumentation instrumentation = InstrumentationRegistry.getInstrumentation();
        Context context = instrumentation.getTargetContext();
        List<String> failures = new ArrayList<>();
        int count = 0;
        for (RuntimeFactory runtime : Runtimes.all(context)) {
            for (String model : new ModelCatalog(context, runtime.target()).names()) {
                String said = measure(context, model, runtime.accelerator(), count++);
                if (said != null) {
                    failures.add(model + " on " + runtime.accelerator() + ": " + said);
                }
            }
        }
        if (count == 0) {
            throw new AssertionError("the app was built without a model");
        }
        if (!failures.isEmpty()) {
            throw new AssertionError(failures.toString());
        }
    }

    /** Measure in the activity that adb would start, which is in the foreground; return what went wrong, null if nothing. */
    private static String measure(Context context, String model, String accelerator, int number) throws IOException {
        String name = "farm-" + number + "-" + accelerator + ".json";
        File result = new File(context.getExternalFilesDir(Records.FOLDER), name);
        if (result.exists() && !result.delete()) {
            return "cannot replace " + result;
        }
        context.startActivity(
                new Intent(context, BenchActivity.class).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK).putExtra("model", model)
                        .putExtra("result", name).putExtra("accelerator", accelerator).putExtra("threads", THREADS)
                        .putExtra("warmup_runs", 0).putExtra("runs", 100).putExtra("max_seconds", 60f));
        long deadline = SystemClock.elapsedRealtime() + WAIT_MS;
        while (!result.exists()) {
            if (SystemClock.elapsedRealtime() > deadline) {
                return "no record in time";
            }
            SystemClock.sleep(500);
        }
        String first = firstLine(result);
        return first.startsWith("{\"error\"") ? first : null;
    }

    private static String firstLine(File file) throws IOException {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(new FileInputStream(file), StandardCharsets.UTF_8))) {
            String line = in.readLine();
            return line == null ? "" : line;
        }
    }
}
