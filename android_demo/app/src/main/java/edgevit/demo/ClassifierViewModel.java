package edgevit.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Handler;
import android.os.Looper;
import edgevit.core.Benchmark;
import edgevit.core.Engine;
import edgevit.core.FrameRate;
import edgevit.core.ModelException;
import edgevit.core.PictureException;
import edgevit.core.Postprocess.Prediction;
import edgevit.core.Problems;
import edgevit.core.RunGuard;
import edgevit.core.RuntimeFactory;
import edgevit.core.ScreenContent;
import edgevit.core.Turns;
import edgevit.core.UiState;
import edgevit.core.Yuv;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * What the screen is about, kept while the activity is made anew on rotation. All work is done on one thread of its own, so that the
 * model and its buffers are never used by two.
 */
final class ClassifierViewModel {
    /** Told on the main thread. */
    interface Listener {
        void onChanged();
    }

    /** In seconds: latency, and how it changes while the phone grows warm. */
    static final int[] DURATIONS = {5, 60, 300};

    private static final int NUM_CLASSES = 3;
    /** So many pictures before the shown one are named. */
    private static final int NUM_BEFORE = 4;
    /** A chosen picture is classified this often, so that there is a p90 to show; the camera keeps as many of its last frames. */
    private static final int NUM_RUNS = 30;
    /** Telling the screen more often would draw it while the time is taken. */
    private static final long PROGRESS_NANOS = 500_000_000L;

    final List<RuntimeFactory> runtimes;
    private final Context context;
    private final Handler main = new Handler(Looper.getMainLooper());
    private final ExecutorService worker = Executors.newSingleThreadExecutor();

    // Of the main thread.
    private Listener listener;
    private UiState state;
    private Bitmap shown;
    private boolean isFrameWaiting;
    private String accelerator;
    int runtime;
    String model;
    // One: with several, ExecuTorch 1.4.1 computes int8 attention wrongly on ARM (see README.md).
    int threads = 1;
    int threshold = ScreenContent.DEFAULT_THRESHOLD;
    /** What takes turns with the model when it is measured, null for nothing. */
    String compared;
    /** For how long a model is measured at least, in seconds. */
    int seconds = DURATIONS[0];

    // Of the worker.
    private final Pictures pictures = new Pictures();
    private final double[] latencies = new double[NUM_RUNS];
    private int numLatencies;
    private final FrameRate frameRate = new FrameRate();
    private final LinkedList<Prediction> before = new LinkedList<>();
    private Prediction last;
    private Engine engine;

    final RunGuard guard = new RunGuard();

    ClassifierViewModel(Context context) {
        this.context = context.getApplicationContext();
        runtimes = Runtimes.all(this.context);
        String[] names = modelNames();
        if (names.length == 0) {
            state = Problems.noModel();
        } else {
            select(runtime, names[0], threads);
        }
    }

    void listen(Listener newListener) {
        listener = newListener;
    }

    UiState state() {
        return state;
    }

    Bitmap shown() {
        return shown;
    }

    String[] modelNames() {
        return new ModelCatalog(context, runtimes.get(runtime).target()).names();
    }

    /** Load another model, or the same in another way. */
    void select(int newRuntime, String newModel, int newThreads) {
        int threadsNow = newRuntime == runtime ? newThreads : 1; // A number that is right for one runtime says nothing of another.
        runtime = newRuntime;
        String[] names = modelNames();
        model = Arrays.asList(names).contains(newModel) ? newModel : names.length > 0 ? names[0] : null;
        threads = threadsNow;
        if (model == null) {
            show(Problems.noModel());
            return;
        }
        final RuntimeFactory factory = runtimes.get(newRuntime);
        final ModelCatalog catalog = new ModelCatalog(context, factory.target());
        final String name = model;
        guard.end(RunGuard.OTHER_MODEL);
        show(new UiState.Loading(name));
        worker.execute(() -> {
            closeEngine();
            try {
                engine = Engine.load(catalog, name, factory, threadsNow, catalog.copies());
                final String runsOn = engine.accelerator();
                main.post(() -> accelerator = runsOn);
                post(new UiState.Ready(runsOn));
            } catch (ModelException e) {
                post(Problems.model(e));
            }
        });
    }

    void classify(final Uri uri) {
        show(new UiState.Working());
        worker.execute(() -> {
            try {
                pictures.read(context.getContentResolver(), uri);
                final Bitmap small = pictures.shown;
                main.post(() -> shown = small);
                numLatencies = 0;
                post(classified(NUM_RUNS, false, 0));
            } catch (Pictures.Unusable e) {
                post(e.problem);
            } catch (PictureException e) {
                post(Problems.picture(e));
            } catch (ModelException e) {
                post(Problems.model(e));
            }
        });
    }

    void setThreshold(int percent) {
        threshold = percent;
        show(state);
    }

    /** Return whether a frame would be worked on; otherwise the camera need not even make one. */
    boolean wantsFrame() {
        return !isFrameWaiting && (state instanceof UiState.Ready || state instanceof UiState.Classified);
    }

    /** Classify a camera frame, which must not change before {@link #wantsFrame} is true again. */
    void classify(final Yuv frame) {
        isFrameWaiting = true;
        worker.execute(() -> {
            UiState next;
            try {
                pictures.take(frame);
                next = classified(1, true, frame.convertUs);
            } catch (PictureException e) {
                next = Problems.picture(e);
            } catch (ModelException e) {
                next = Problems.model(e);
            }
            final UiState done = next;
            main.post(() -> {
                isFrameWaiting = false;
                if (wantsFrame()) { // Nothing else was asked for meanwhile.
                    show(done);
                }
            });
        });
    }

    /** Measure the model, or two in turns; the camera is closed by then. The record is also kept as a file, a broken-off one too. */
    void measure() {
        // Warm-up ends when the latency is steady, not after a number of inferences.
        final Benchmark.Settings settings = new Benchmark.Settings(threads, 0, 1, 30, 100, seconds, seconds + 55);
        final RuntimeFactory factory = runtimes.get(runtime);
        final String other = model.equals(compared) ? null : compared;
        guard.begin();
        show(new UiState.Measuring(true, 0, settings.runs, 0, 1));
        worker.execute(() -> {
            Engine second = null;
            try {
                List<Engine> engines = new ArrayList<>();
                engines.add(engine);
                if (other != null) {
                    second = loadOther(other, factory, settings.threads);
                    if (second == null) {
                        return;
                    }
                    engines.add(second);
                }
                BenchRun run = BenchRun.measure(context, engines, settings, factory, guard, progress(settings));
                Records.write(context, "screen-" + engine.manifest.fileName + ".json", run.toJson());
                if (RunGuard.OTHER_MODEL.equals(guard.reason())) {
                    return; // The screen already shows that one; the partial record is in its file.
                }
                post(run.toState());
            } catch (ModelException e) {
                post(Problems.model(e));
            } finally {
                if (second != null) {
                    second.close();
                }
            }
        });
    }

    /** Return a model to compare with, null where it cannot be loaded: that is told, and the first one stays usable. */
    private Engine loadOther(String other, RuntimeFactory factory, int threads) {
        ModelCatalog catalog = new ModelCatalog(context, factory.target());
        try {
            return Engine.load(catalog, other, factory, threads, catalog.copies());
        } catch (ModelException e) {
            post(Problems.otherModel(e));
            return null;
        }
    }

    private Turns.Progress progress(final Benchmark.Settings settings) {
        final long[] told = {0};
        return (turn, turns, isWarmup, done) -> {
            long now = System.nanoTime();
            if (now - told[0] > PROGRESS_NANOS) {
                told[0] = now;
                post(new UiState.Measuring(isWarmup, done, settings.turn(turns > 1 ? Turns.OF_TWO : 1).runs, turn, turns));
            }
            return true;
        };
    }

    void stop() {
        guard.end(RunGuard.USER);
    }

    /** Show a problem that the activity met: no camera, not allowed, no picker. */
    void report(UiState.Problem problem) {
        show(problem);
    }

    /** Show that a picture can be chosen again, for example when the camera is closed. */
    void reset() {
        boolean isModelMissing = state instanceof UiState.Problem && ((UiState.Problem) state).isModel;
        if (!(state instanceof UiState.Loading) && !isModelMissing) {
            show(new UiState.Ready(accelerator));
        }
    }

    void close() {
        guard.end(RunGuard.BACKGROUND);
        worker.execute(this::closeEngine);
        worker.shutdown();
    }

    private UiState classified(int runs, boolean isLive, double convertUs) throws ModelException, PictureException {
        List<Prediction> top =
                engine.classify(pictures.rgba, pictures.width, pictures.height, pictures.orientation, NUM_CLASSES);
        add(engine.inferenceUs);
        for (int i = 1; i < runs; i++) {
            add(engine.runAgain());
        }
        if (isLive) {
            frameRate.add(System.nanoTime());
        } else {
            remember(top.get(0));
        }
        double[] kept = Arrays.copyOf(latencies, Math.min(numLatencies, latencies.length));
        double[] rates = isLive ? frameRate.rates() : new double[0];
        return new UiState.Classified(top, kept, convertUs, engine.preprocessUs, isLive, new ArrayList<>(before), rates);
    }

    private void remember(Prediction now) {
        if (last != null) {
            before.addFirst(last);
        }
        if (before.size() > NUM_BEFORE) {
            before.removeLast();
        }
        last = now;
    }

    private void add(double us) {
        latencies[numLatencies++ % latencies.length] = us;
    }

    private void closeEngine() {
        numLatencies = 0;
        before.clear(); // Another model's classes.
        last = null;
        if (engine != null) {
            engine.close();
            engine = null;
        }
    }

    private void post(final UiState next) {
        main.post(() -> show(next));
    }

    private void show(UiState next) {
        state = next;
        if (listener != null) {
            listener.onChanged();
        }
    }
}
