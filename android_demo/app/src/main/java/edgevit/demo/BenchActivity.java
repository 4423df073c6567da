package edgevit.demo;

import android.app.Activity;
import android.content.Intent;
import android.os.Bundle;
import android.util.Log;
import android.view.WindowManager;
import android.widget.TextView;
import edgevit.core.Benchmark;
import edgevit.core.Engine;
import edgevit.core.Json;
import edgevit.core.ModelException;
import edgevit.core.RunGuard;
import edgevit.core.RuntimeFactory;
import java.util.Collections;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Measures one model when adb asks for it, and writes the record where adb can pull it.
 *
 * <p>Extras: model (file name, required), result (file name, required), accelerator (CPU, GPU or NPU; the first that the runtime has),
 * prepare (true: only make the app's folders, for a push before the first run), threads, warmup_runs, runs (whole numbers),
 * warmup_seconds, max_warmup_seconds, seconds, max_seconds (floats). The result goes to the app's external folder bench/, complete or not
 * at all; on failure it is {@code {"error": ...}}.
 */
public final class BenchActivity extends Activity {
    private static final String TAG = "EdgeVitBench";

    private final ExecutorService worker = Executors.newSingleThreadExecutor();
    private final RunGuard guard = new RunGuard();

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        // A dark screen slows the cores down.
        getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON | WindowManager.LayoutParams.FLAG_TURN_SCREEN_ON);
        TextView text = new TextView(this);
        text.setText(R.string.bench_title);
        text.setFitsSystemWindows(true);
        setContentView(text);
        onNewIntent(getIntent());
    }

    @Override
    protected void onNewIntent(Intent intent) {
        getExternalFilesDir(ModelCatalog.FOLDER); // Made by the app: in a folder that adb's shell made it could not write.
        getExternalFilesDir(Records.FOLDER);
        if (intent.getBooleanExtra("prepare", false)) {
            finish();
        } else {
            start(intent);
        }
    }

    @Override
    protected void onResume() {
        super.onResume();
        guard.setForeground(true);
    }

    /** Measurements in the background are not the model's: what was measured until now is written, marked as partial. */
    @Override
    protected void onPause() {
        guard.setForeground(false);
        super.onPause();
    }

    @Override
    protected void onDestroy() {
        guard.end(RunGuard.BACKGROUND);
        worker.shutdown();
        super.onDestroy();
    }

    private void start(final Intent intent) {
        guard.begin();
        guard.setForeground(true); // onCreate and onNewIntent come before onResume.
        worker.execute(() -> {
            String result = intent.getStringExtra("result");
            if (result == null || !result.matches("[A-Za-z0-9_-]{1,64}\\.json")) {
                Log.e(TAG, "result is " + result + "; give a file name such as run.json");
                return;
            }
            Records.write(this, result, measure(intent));
            runOnUiThread(this::finish);
        });
    }

    private String measure(Intent intent) {
        try {
            return measured(intent);
        } catch (ModelException | IllegalArgumentException e) {
            return Json.write(Collections.singletonMap("error", e.getMessage()));
        }
    }

    private String measured(Intent intent) throws ModelException {
        String model = intent.getStringExtra("model");
        if (model == null || model.contains("/")) {
            throw new IllegalArgumentException("model is " + model + "; give the file name of a model");
        }
        Benchmark.Settings settings = new Benchmark.Settings(
                intent.getIntExtra("threads", 1), intent.getIntExtra("warmup_runs", 10),
                intent.getFloatExtra("warmup_seconds", 1), intent.getFloatExtra("max_warmup_seconds", 30),
                intent.getIntExtra("runs", 50), intent.getFloatExtra("seconds", 5), intent.getFloatExtra("max_seconds", 300));
        RuntimeFactory runtime = runtimeFor(model, intent.getStringExtra("accelerator"));
        ModelCatalog catalog = new ModelCatalog(this, runtime.target());
        Engine engine = Engine.load(catalog, model, runtime, settings.threads, catalog.copies());
        try {
            return BenchRun.measure(
                    this, Collections.singletonList(engine), settings, runtime, guard, (turn, turns, isWarmup, done) -> true).toJson();
        } finally {
            engine.close();
        }
    }

    private RuntimeFactory runtimeFor(String model, String accelerator) {
        for (RuntimeFactory runtime : Runtimes.all(this)) {
            boolean isWanted = accelerator == null || accelerator.equals(runtime.accelerator());
            if (isWanted && model.endsWith(ModelCatalog.ending(runtime.target()))) {
                return runtime;
            }
        }
        String on = accelerator == null ? "" : " on accelerator " + accelerator;
        throw new IllegalArgumentException(
                "no runtime for " + model + on + " is part of this app; build the flavour that carries it");
    }
}
