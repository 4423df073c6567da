package edgevit.core;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Lets a test program drive the classes of the app: one JSON request a line on standard input, one JSON answer a line on standard
 * output. It runs on the classes compiled from source and on those taken out of an APK.
 */
public final class Probe {
    private Probe() {}

    public static void main(String[] arguments) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> answer = new LinkedHashMap<>();
            try {
                answer(cast(Json.parse(line)), answer);
            } catch (ModelException | PictureException | IllegalArgumentException e) {
                answer.put("error", e.getMessage());
            }
            byte[] text = (Json.write(answer) + "\n").getBytes(StandardCharsets.UTF_8);
            System.out.write(text, 0, text.length);
            System.out.flush();
        }
    }

    private static void answer(Map<String, Object> request, Map<String, Object> answer)
            throws IOException, ModelException, PictureException {
        String what = (String) request.get("do");
        switch (what) {
            case "classify":
                classify(request, answer);
                break;
            case "orientation":
                answer.put("orientation", Exif.orientation(read(request, "file")));
                break;
            case "manifest":
                Manifest manifest = ModelFiles.readManifest(folder(request), (String) request.get("model"));
                if (request.get("target") != null) {
                    manifest.requireTarget((String) request.get("target"), "This runtime");
                }
                answer.put("title", manifest.title());
                answer.put("labels", manifest.labels);
                if (Boolean.TRUE.equals(request.get("is_whole"))) {
                    answer.put("side", (long) manifest.input.side);
                    answer.put("dtype", manifest.input.dtype);
                    answer.put("is_normalized_inside", manifest.input.isNormalizedInside);
                    answer.put("gives_probabilities", manifest.givesProbabilities);
                    answer.put("sha256", manifest.fileSha256);
                    answer.put("resize", (long) manifest.input.resize);
                    answer.put("interpolation", manifest.input.interpolation);
                    answer.put("value_range", Arrays.<Object>asList(manifest.input.low, manifest.input.high));
                    answer.put("mean", numbers(manifest.input.mean));
                    answer.put("std", numbers(manifest.input.std));
                }
                break;
            case "install":
                Manifest installed = ModelFiles.readManifest(folder(request), (String) request.get("model"));
                File file = ModelFiles.install(folder(request), installed, new File((String) request.get("into")));
                answer.put("path", file.getPath());
                break;
            case "json":
                answer.put("value", Json.parse((String) request.get("text")));
                break;
            case "logits":
                logits(request, answer);
                break;
            case "record":
                record(request, answer);
                break;
            case "benchmark":
                benchmark(request, answer);
                break;
            case "turns":
                turns(request, answer);
                break;
            case "stats":
                stats(request, answer);
                break;
            case "frames":
                FrameRate rate = new FrameRate();
                for (double ms : numbers(request.get("at_ms"))) {
                    rate.add(Math.round(ms * 1e6));
                }
                answer.put("rates", numbers(rate.rates()));
                break;
            case "yuv":
                yuv(request, answer);
                break;
            case "turn":
                boolean isFront = Boolean.TRUE.equals(request.get("is_front"));
                answer.put("orientation", Yuv.orientation(whole(request, "sensor"), whole(request, "display"), isFront));
                break;
            case "engine":
                engine(request, answer);
                break;
            case "emulated_run":
                emulatedRun(request, answer);
                break;
            case "golden":
                golden(request, answer);
                break;
            case "guard":
                guard(request, answer);
                break;
            case "kernel":
                KernelFiles kernel = new KernelFiles(new File((String) request.get("root")));
                answer.put("peak_kb", kernel.peakKb());
                answer.put("clusters", kernel.clusters());
                answer.put("clocks_khz", kernel.clocksKhz());
                break;
            case "fallback":
                fallback(request, answer);
                break;
            case "states":
                for (Map.Entry<String, UiState> entry : States.all().entrySet()) {
                    answer.put(entry.getKey(), new ScreenContent(entry.getValue(), ScreenContent.DEFAULT_THRESHOLD).toMap());
                }
                break;
            default:
                throw new IllegalArgumentException("unknown request " + what);
        }
    }

    /** Prepare a picture for one or several manifests in turn, with the same objects as the app would. */
    private static void classify(Map<String, Object> request, Map<String, Object> answer)
            throws IOException, ModelException, PictureException {
        Manifest manifest = ModelFiles.readManifest(folder(request), (String) request.get("model"));
        Preprocess preprocess = PREPROCESSORS.computeIfAbsent(manifest.fileSha256, key -> new Preprocess(manifest.input));
        int orientation = Exif.orientation(read(request, "file"));
        preprocess.resize(read(request, "rgba"), whole(request, "width"), whole(request, "height"), orientation);
        ByteBuffer out = ByteBuffer.allocateDirect(manifest.input.numBytes()).order(ByteOrder.nativeOrder());
        preprocess.write(out);
        byte[] input = new byte[out.remaining()];
        out.get(input);
        Files.write(Paths.get((String) request.get("pixels_to")), preprocess.pixels());
        Files.write(Paths.get((String) request.get("input_to")), input);
        answer.put("orientation", orientation);
        if (request.get("logits") != null) {
            ByteBuffer raw = ByteBuffer.wrap(read(request, "logits")).order(ByteOrder.LITTLE_ENDIAN);
            float[] logits = new float[manifest.labels.size()];
            Postprocess.readOutputs(raw, "float32", 1, 0, logits);
            answer.put("top", top(logits, manifest.givesProbabilities, manifest.labels));
        }
    }

    private static final Map<String, Preprocess> PREPROCESSORS = new LinkedHashMap<>();

    private static void logits(Map<String, Object> request, Map<String, Object> answer) throws IOException, ModelException {
        ByteBuffer raw = ByteBuffer.wrap(read(request, "file")).order(ByteOrder.LITTLE_ENDIAN);
        String dtype = (String) request.get("dtype");
        float[] logits = new float[raw.remaining() / Postprocess.numBytes(dtype)];
        double scale = ((Number) request.get("scale")).doubleValue();
        Postprocess.readOutputs(raw, dtype, (float) scale, whole(request, "zero_point"), logits);
        List<String> labels = new ArrayList<>();
        for (int i = 0; i < logits.length; i++) {
            labels.add("class " + i);
        }
        answer.put("top", top(logits, Boolean.TRUE.equals(request.get("are_probabilities")), labels));
        List<Object> values = new ArrayList<>();
        for (float logit : logits) {
            values.add(logit);
        }
        answer.put("logits", values);
    }

    private static List<Object> top(float[] outputs, boolean areProbabilities, List<String> labels) throws ModelException {
        List<Object> found = new ArrayList<>();
        for (Postprocess.Prediction prediction : Postprocess.top(outputs, areProbabilities, labels, 3)) {
            found.add(Arrays.<Object>asList(prediction.index, prediction.label, prediction.probability));
        }
        return found;
    }

    private static void record(Map<String, Object> request, Map<String, Object> answer) throws ModelException {
        Manifest manifest = ModelFiles.readManifest(folder(request), (String) request.get("model"));
        List<Benchmark.Result> turns = new ArrayList<>();
        boolean isOne = request.get("turns_us") == null;
        for (Object samples : isOne ? Collections.singletonList(request.get("samples_us")) : (List<?>) request.get("turns_us")) {
            turns.add(turn(samples));
        }
        int seconds = request.get("seconds") == null ? 0 : whole(request, "seconds");
        int asked = request.get("turns_asked") == null ? turns.size() : whole(request, "turns_asked");
        Benchmark.Settings settings = new Benchmark.Settings(2, 0, 0, 0, whole(request, "runs"), seconds, seconds);
        BenchmarkRecord record = new BenchmarkRecord(manifest, settings, turns, asked);
        if (request.get("others_us") != null) {
            List<Benchmark.Result> others = new ArrayList<>();
            for (Object samples : (List<?>) request.get("others_us")) {
                others.add(turn(samples));
            }
            record.ratio = Turns.ratio(turns, others);
        }
        record.temperatures = Arrays.asList(new double[] {0, 31.04}, new double[] {1.0004, 31.2});
        record.loadUs = 21000;
        record.peakKb = 40960.0;
        record.isEmulated = Boolean.TRUE.equals(request.get("is_emulated"));
        record.device = Collections.<String, Object>singletonMap("model", "Test Phone");
        record.runner = "ExecuTorch";
        record.accelerator = "GPU, rest on CPU";
        record.acceleratorAsked = "GPU";
        record.stoppedBecause = (String) request.get("stopped_because");
        BenchmarkRecord.State state = new BenchmarkRecord.State();
        state.batteryPercent = 80;
        state.batteryC = 31.5;
        state.isCharging = true;
        state.isForeground = true;
        state.isPowerSaving = false;
        state.thermalStatus = "none";
        state.thermalHeadroom = 0.4;
        record.before = state.toMap();
        state.thermalStatus = request.get("heat") == null ? "none" : (String) request.get("heat");
        record.after = state.toMap();
        answer.put("record", Json.parse(record.toJson()));
    }

    private static Benchmark.Result turn(Object samples) {
        Benchmark.Result result = new Benchmark.Result();
        result.samplesUs = numbers(samples);
        result.firstUs = 9000;
        result.isSteady = true;
        return result;
    }

    /** Let two made-up models of the given latencies take turns; say in which order they ran and what came out. */
    private static void turns(Map<String, Object> request, Map<String, Object> answer) throws ModelException {
        final long[] now = {0};
        final List<Object> order = new ArrayList<>();
        List<Benchmark> models = new ArrayList<>();
        for (Object latency : (List<?>) request.get("latencies_us")) {
            final long us = (Long) latency;
            models.add(new Benchmark(new TestClassifier(() -> {
                now[0] += 1000 * us;
                if (order.isEmpty() || !order.get(order.size() - 1).equals(us)) {
                    order.add(us);
                }
            }), null, null, () -> now[0]));
        }
        Benchmark.Settings settings = new Benchmark.Settings(1, 0, 0, 0, whole(request, "runs"), 0, 10);
        final int[] left = {request.get("stop_after") == null ? Integer.MAX_VALUE : whole(request, "stop_after")};
        List<List<Benchmark.Result>> found = Turns.run(
                models, settings, Turns.OF_TWO, (turn, all, isWarmup, done) -> --left[0] > 0);
        List<Object> counts = new ArrayList<>();
        List<Object> begins = new ArrayList<>();
        for (List<Benchmark.Result> turns : found) {
            List<Object> mine = new ArrayList<>();
            for (Benchmark.Result turn : turns) {
                mine.add((long) turn.samplesUs.length);
            }
            counts.add(mine);
            Measurement shown = new Measurement("a.pte", turns, 0);
            begins.add(shown.curves.isEmpty() ? null : shown.curves.get(0).get(0)[0]);
        }
        answer.put("order", order);
        answer.put("counts", counts);
        answer.put("begins", begins);
        double[] ratio = found.size() == 2 ? Turns.ratio(found.get(1), found.get(0)) : null;
        answer.put("ratio", ratio == null ? null : ratio[0]);
    }

    /** Run the measuring loop on a clock that moves by the given latencies. */
    private static void benchmark(Map<String, Object> request, Map<String, Object> answer) throws ModelException {
        final List<?> latencies = (List<?>) request.get("latencies_us");
        final long[] now = {0};
        final int[] calls = {0};
        Classifier classifier = new Classifier() {
            @Override
            public void run(ByteBuffer input, float[] logits) {
                int place = Math.min(calls[0]++, latencies.size() - 1);
                now[0] += 1000 * ((Number) latencies.get(place)).longValue();
            }

            @Override
            public String accelerator() {
                return "CPU";
            }

            @Override
            public void close() {}
        };
        Benchmark.Settings settings = new Benchmark.Settings(
                whole(request, "threads"), whole(request, "warmup_runs"), 0, 0.5, whole(request, "runs"), 0, 10);
        final int stopAfter = request.get("stop_after") == null ? Integer.MAX_VALUE : whole(request, "stop_after");
        Benchmark.Result result = new Benchmark(classifier, null, null, () -> now[0])
                .run(settings, (isWarmup, done) -> isWarmup || done < stopAfter);
        answer.put("first_us", result.firstUs);
        answer.put("num_warmup", result.warmupUs.length);
        answer.put("num_samples", result.samplesUs.length);
        answer.put("is_steady", result.isSteady);
    }

    private static void stats(Map<String, Object> request, Map<String, Object> answer) {
        List<double[]> mine = new ArrayList<>();
        List<double[]> theirs = new ArrayList<>();
        for (Object turn : (List<?>) request.get("mine")) {
            mine.add(numbers(turn));
        }
        for (Object turn : (List<?>) request.get("theirs")) {
            theirs.add(numbers(turn));
        }
        double[] ratio = LatencyStats.ratio(mine, theirs);
        answer.put("value", ratio[0]);
        answer.put("low", Double.isNaN(ratio[1]) ? null : ratio[1]);
        answer.put("high", Double.isNaN(ratio[2]) ? null : ratio[2]);
        List<Object> curve = new ArrayList<>();
        for (double[] point : LatencyStats.curve(mine.get(0), 60)) {
            curve.add(numbers(point));
        }
        answer.put("curve", curve);
    }

    private static void yuv(Map<String, Object> request, Map<String, Object> answer) throws IOException {
        Yuv frame = new Yuv(whole(request, "width"), whole(request, "height"));
        for (int i = 0; i < 3; i++) {
            int pixelStride = i == 0 ? 1 : whole(request, "pixel_stride");
            frame.setPlane(i, ByteBuffer.wrap(read(request, "plane" + i)), whole(request, "row_stride" + i), pixelStride);
        }
        byte[] rgba = new byte[4 * frame.width * frame.height];
        frame.toRgba(rgba);
        Files.write(Paths.get((String) request.get("to")), rgba);
        answer.put("is_done", true);
        answer.put("is_timed", frame.convertUs > 0);
    }

    /** Answer the golden values of the Swift package, from the same inputs. */
    private static void golden(Map<String, Object> request, Map<String, Object> answer) {
        List<Object> kernels = new ArrayList<>();
        for (Object one : (List<?>) request.get("kernels")) {
            Map<String, Object> given = cast(one);
            boolean isBicubic = Boolean.TRUE.equals(given.get("bicubic"));
            Kernel kernel = new Kernel(
                    whole(given, "from"), whole(given, "to"), whole(given, "begin"), whole(given, "count"), isBicubic);
            Map<String, Object> made = new LinkedHashMap<>();
            made.put("first", wholes(kernel.first));
            List<Object> weights = new ArrayList<>();
            for (int[] line : kernel.weights) {
                weights.add(wholes(line));
            }
            made.put("weights", weights);
            kernels.add(made);
        }
        answer.put("kernels", kernels);
        List<Object> shares = new ArrayList<>();
        for (Object one : (List<?>) request.get("softmax")) {
            double[] logits = numbers(cast(one).get("logits"));
            float[] narrow = new float[logits.length];
            for (int i = 0; i < narrow.length; i++) {
                narrow[i] = (float) logits[i];
            }
            List<Object> plain = new ArrayList<>();
            for (double share : Postprocess.softmax(narrow)) {
                plain.add(share);
            }
            shares.add(plain);
        }
        answer.put("softmax", shares);
        List<Object> quantiles = new ArrayList<>();
        for (Object one : (List<?>) request.get("quantiles")) {
            double percent = ((Number) cast(one).get("percent")).doubleValue();
            quantiles.add(LatencyStats.quantile(numbers(cast(one).get("samples")), percent));
        }
        answer.put("quantiles", quantiles);
        List<Object> drifts = new ArrayList<>();
        for (Object one : (List<?>) request.get("drifts")) {
            drifts.add(LatencyStats.drift(numbers(cast(one).get("samples"))));
        }
        answer.put("drifts", drifts);
    }

    private static List<Object> wholes(int[] values) {
        List<Object> found = new ArrayList<>();
        for (int value : values) {
            found.add((long) value);
        }
        return found;
    }

    private static List<Object> numbers(double[] values) {
        List<Object> found = new ArrayList<>();
        for (double value : values) {
            found.add(value);
        }
        return found;
    }

    private static double[] numbers(Object list) {
        List<?> items = (List<?>) list;
        double[] found = new double[items.size()];
        for (int i = 0; i < found.length; i++) {
            found[i] = ((Number) items.get(i)).doubleValue();
        }
        return found;
    }

    /** Run the measuring loop while the app goes through the given events, one after each inference; say why it ended. */
    private static void guard(Map<String, Object> request, Map<String, Object> answer) throws ModelException {
        final List<?> events = (List<?>) request.get("events");
        final RunGuard guard = new RunGuard();
        guard.setForeground(true);
        guard.begin();
        final long[] now = {0};
        Benchmark benchmark = new Benchmark(new TestClassifier(() -> now[0] += 2_000_000), null, null, () -> now[0]);
        Benchmark.Settings settings = new Benchmark.Settings(1, 0, 0, 0, 50, 0, 10);
        final int[] done = {0};
        Benchmark.Result result = benchmark.run(settings, (isWarmup, count) -> {
            Object event = isWarmup || done[0] >= events.size() ? null : events.get(done[0]++);
            if (event != null) {
                happen(guard, (String) event);
            }
            return guard.reason() == null;
        });
        answer.put("num_samples", result.samplesUs.length);
        answer.put("reason", guard.reason());
    }

    private static void happen(RunGuard guard, String event) {
        switch (event) {
            case "background":
                guard.setForeground(false);
                break;
            case "foreground":
                guard.setForeground(true);
                break;
            case "camera":
                guard.setCameraOpen(true);
                break;
            case "user":
                guard.end(RunGuard.USER);
                break;
            default:
                break;
        }
    }

    /** Load on a device of which only the given steps work: "GPU", "GPU+CPU", "CPU". */
    private static void fallback(Map<String, Object> request, Map<String, Object> answer) throws ModelException {
        final List<?> working = (List<?>) request.get("working");
        final List<Object> tried = new ArrayList<>();
        Classifier classifier = Fallback.load((String) request.get("asked"), (accelerator, mayUseCpu) -> {
            String step = accelerator + (mayUseCpu ? "+CPU" : "");
            tried.add(step);
            if (!working.contains(step)) {
                throw new ModelException(step + " does not work");
            }
            return new TestClassifier(() -> {});
        });
        answer.put("accelerator", classifier.accelerator());
        answer.put("tried", tried);
    }

    /** A classifier that only lets time pass. */
    private static final class TestClassifier implements Classifier {
        private final Runnable work;

        TestClassifier(Runnable work) {
            this.work = work;
        }

        @Override
        public void run(ByteBuffer input, float[] outputs) {
            work.run();
        }

        @Override
        public String accelerator() {
            return "CPU";
        }

        @Override
        public void close() {}
    }

    /** Load a model in a runtime made up for tests, whose logits are the first bytes of its input, and classify one colour. */
    private static void engine(final Map<String, Object> request, Map<String, Object> answer)
            throws IOException, ModelException, PictureException {
        final boolean isBroken = Boolean.TRUE.equals(request.get("is_broken"));
        final List<Object> loaded = new ArrayList<>();
        RuntimeFactory runtime = new RuntimeFactory() {
            @Override
            public String name() {
                return "Test runtime";
            }

            @Override
            public String target() {
                return (String) request.get("target");
            }

            @Override
            public String version() {
                return "1";
            }

            @Override
            public String accelerator() {
                return "CPU";
            }

            @Override
            public String chip() {
                return request.get("chip") == null ? "" : (String) request.get("chip");
            }

            @Override
            public Classifier load(File model, Manifest manifest, int threads) throws ModelException {
                loaded.add(model.getName().replaceFirst("[0-9a-f]{16}-", ""));
                if (model.getName().endsWith((String) request.getOrDefault("refuses", "no such file"))) {
                    throw new ModelException("the runtime refuses " + model.getName());
                }
                return new Classifier() {
                    @Override
                    public void run(ByteBuffer input, float[] logits) throws ModelException {
                        if (isBroken || !input.isDirect()) {
                            throw new ModelException("the runtime failed");
                        }
                        for (int i = 0; i < logits.length; i++) {
                            logits[i] = (input.get(i) & 0xff) / 50f;
                        }
                    }

                    @Override
                    public String accelerator() {
                        return "CPU";
                    }

                    @Override
                    public void close() {}
                };
            }
        };
        File into = new File((String) request.get("into"));
        Engine engine = Engine.load(folder(request), (String) request.get("model"), runtime, 1, into);
        byte[] rgba = new byte[4 * 40 * 40];
        for (int i = 0; i < rgba.length; i++) {
            rgba[i] = (byte) (i % 4 == 1 ? 200 : i % 4 == 3 ? 255 : 10);
        }
        List<Object> labels = new ArrayList<>();
        for (Postprocess.Prediction prediction : engine.classify(rgba, 40, 40, Exif.UPRIGHT, 2)) {
            labels.add(prediction.label);
        }
        answer.put("labels", labels);
        answer.put("loaded", loaded);
        answer.put("is_timed", engine.inferenceUs > 0 && engine.preprocessUs > 0 && engine.runAgain() > 0 && engine.loadUs > 0);
        Benchmark.Settings settings = new Benchmark.Settings(1, 2, 0, 0, 30, 0, 10);
        answer.put("num_samples", engine.benchmark(System::nanoTime).run(settings, (warm, n) -> true).samplesUs.length);
        engine.close();
    }

    /** Classify a picture and measure, as the app does, in a runtime that is another program: an emulated one. */
    private static void emulatedRun(final Map<String, Object> request, Map<String, Object> answer)
            throws IOException, ModelException, PictureException {
        final File into = new File((String) request.get("into"));
        RuntimeFactory runtime = new RuntimeFactory() {
            @Override
            public String name() {
                return "ExecuTorch";
            }

            @Override
            public String target() {
                return "executorch";
            }

            @Override
            public String version() {
                return (String) request.get("version");
            }

            @Override
            public String accelerator() {
                return "CPU";
            }

            @Override
            public String chip() {
                return "";
            }

            @Override
            public Classifier load(File model, Manifest manifest, int threads) {
                return new ProgramClassifier((List<?>) request.get("command"), model, into, threads);
            }
        };
        Engine engine = Engine.load(folder(request), (String) request.get("model"), runtime, 1, into);
        int width = whole(request, "width");
        int height = whole(request, "height");
        List<Object> labels = new ArrayList<>();
        for (Postprocess.Prediction one : engine.classify(read(request, "rgba"), width, height, Exif.UPRIGHT, 3)) {
            labels.add(one.label);
        }
        answer.put("labels", labels);
        Benchmark.Settings settings = new Benchmark.Settings(1, 0, 0, 0, whole(request, "runs"), 0, 600);
        List<List<Benchmark.Result>> turns = Turns.run(
                Collections.singletonList(engine.benchmark(System::nanoTime)), settings, 1, (turn, all, isWarmup, done) -> true);
        BenchmarkRecord record = new BenchmarkRecord(engine.manifest, settings, turns.get(0), 1);
        KernelFiles kernel = new KernelFiles(new File("/"));
        Map<String, Object> device = new LinkedHashMap<>();
        device.put("model", request.get("device"));
        device.put("clusters", kernel.clusters());
        device.put("emulated", true);
        BenchmarkRecord.State state = new BenchmarkRecord.State();
        state.clocksKhz = kernel.clocksKhz();
        record.device = device;
        record.isEmulated = true;
        record.started = "2026-01-01T00:00:00+00:00";
        record.before = state.toMap();
        record.after = state.toMap();
        record.loadUs = engine.loadUs;
        record.peakKb = kernel.peakKb();
        record.runner = runtime.name();
        record.runnerVersion = runtime.version();
        record.accelerator = engine.accelerator();
        record.acceleratorAsked = runtime.accelerator();
        answer.put("record", Json.parse(record.toJson()));
        engine.close();
    }

    /** Each inference is a call of a program: model, file of the input, file for the output, threads. */
    private static final class ProgramClassifier implements Classifier {
        private final List<String> command = new ArrayList<>();
        private final File input;
        private final File output;

        ProgramClassifier(List<?> words, File model, File folder, int threads) {
            for (Object word : words) {
                command.add((String) word);
            }
            input = new File(folder, "input");
            output = new File(folder, "output");
            command.addAll(Arrays.asList(model.getPath(), input.getPath(), output.getPath(), Integer.toString(threads)));
        }

        @Override
        public void run(ByteBuffer bytes, float[] outputs) throws ModelException {
            byte[] raw = new byte[bytes.capacity()];
            bytes.rewind();
            bytes.get(raw);
            try {
                Files.write(input.toPath(), raw);
                ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
                builder.environment().clear();
                Process process = builder.redirectOutput(new File(input.getPath() + ".log")).start();
                if (process.waitFor() != 0) {
                    throw new ModelException(command.get(0) + " failed with exit code " + process.exitValue());
                }
                ByteBuffer found = ByteBuffer.wrap(Files.readAllBytes(output.toPath())).order(ByteOrder.LITTLE_ENDIAN);
                Postprocess.readOutputs(found, "float32", 1, 0, outputs);
            } catch (IOException | InterruptedException e) {
                throw new ModelException(command.get(0) + " cannot be run (" + e.getMessage() + ")", e);
            }
        }

        @Override
        public String accelerator() {
            return "CPU";
        }

        @Override
        public void close() {}
    }

    private static ModelFiles.Source folder(Map<String, Object> request) {
        return ModelFiles.folder(new File((String) request.get("folder")));
    }

    private static byte[] read(Map<String, Object> request, String name) throws IOException {
        return Files.readAllBytes(Paths.get((String) request.get(name)));
    }

    private static int whole(Map<String, Object> request, String name) {
        return ((Long) request.get(name)).intValue();
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> cast(Object value) {
        return (Map<String, Object>) value;
    }
}
