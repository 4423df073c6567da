package edgevit.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.view.View;
import android.view.ViewGroup;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.Button;
import android.widget.ImageView;
import android.widget.ProgressBar;
import android.widget.Spinner;
import android.widget.TextView;
import edgevit.core.RuntimeFactory;
import edgevit.core.ScreenContent;
import edgevit.core.UiState;
import java.util.ArrayList;
import java.util.List;

/** Copies the state into the views, and hands what is pressed to the view model or the activity. */
final class ClassifierScreen {
    /** What only an activity can do. */
    interface Host {
        void onPickPressed();

        void onSamplePressed();

        void onCameraPressed();

        void onMeasurePressed();
    }

    private static final int[] VALUES = {R.id.value_50, R.id.value_90, R.id.value_99};

    private final Activity activity;
    private final ClassifierViewModel viewModel;

    ClassifierScreen(Activity activity, ClassifierViewModel viewModel, Host host) {
        this.activity = activity;
        this.viewModel = viewModel;
        button(R.id.pick).setOnClickListener(view -> host.onPickPressed());
        button(R.id.sample).setOnClickListener(view -> host.onSamplePressed());
        button(R.id.camera).setOnClickListener(view -> host.onCameraPressed());
        button(R.id.share).setOnClickListener(this::askHowToShare);
        button(R.id.measure).setOnClickListener(view -> {
            if (viewModel.state() instanceof UiState.Measuring) {
                viewModel.stop();
            } else {
                host.onMeasurePressed();
            }
        });
        fillRuntimes();
        fillModels();
        fillThreads();
        fillThresholds();
        fillDurations();
    }

    /** List the models anew: one may have been pushed meanwhile. */
    void refresh() {
        fillModels();
    }

    void show(boolean isCameraOpen) {
        ScreenContent content = content();
        showText(R.id.message, Texts.of(activity, content.message));
        showText(R.id.hint, Texts.of(activity, content.hint));
        showText(R.id.details, Texts.of(activity, content.details, "\n"));
        int color = content.isProblem ? R.color.problem : R.color.text;
        ((TextView) activity.findViewById(R.id.message)).setTextColor(activity.getColor(color));
        ProgressBar progress = (ProgressBar) activity.findViewById(R.id.progress);
        progress.setVisibility(content.isBusy ? View.VISIBLE : View.GONE);
        progress.setIndeterminate(content.progress < 0);
        progress.setProgress(Math.max(0, content.progress));
        ViewGroup rows = (ViewGroup) activity.findViewById(R.id.rows);
        for (int i = 0; i < ScreenContent.NUM_ROWS; i++) {
            showRow(rows.getChildAt(i), i < content.rows.size() ? content.rows.get(i) : null);
        }
        button(R.id.pick).setEnabled(content.canClassify);
        button(R.id.sample).setEnabled(content.canClassify);
        button(R.id.camera).setEnabled(content.canClassify || isCameraOpen);
        button(R.id.camera).setText(isCameraOpen ? R.string.camera_stop : R.string.camera);
        button(R.id.measure).setEnabled(content.canMeasure || content.canStop);
        button(R.id.measure).setText(content.canStop ? R.string.stop : R.string.benchmark);
        activity.findViewById(R.id.sharing).setVisibility(content.canShare ? View.VISIBLE : View.GONE);
        ViewGroup figures = (ViewGroup) activity.findViewById(R.id.figures);
        for (int i = 0; i < figures.getChildCount(); i++) {
            showFigures(figures.getChildAt(i), i < content.figures.size() ? content.figures.get(i) : null);
        }
        ViewGroup charts = (ViewGroup) activity.findViewById(R.id.charts);
        for (int i = 0; i < charts.getChildCount(); i++) {
            ((ChartView) charts.getChildAt(i)).show(i < content.charts.size() ? content.charts.get(i) : null);
        }
        activity.findViewById(R.id.preview).setVisibility(content.hasPicture ? View.VISIBLE : View.GONE);
        activity.findViewById(R.id.camera_view).setVisibility(isCameraOpen ? View.VISIBLE : View.GONE);
        ImageView picture = (ImageView) activity.findViewById(R.id.picture);
        picture.setVisibility(isCameraOpen ? View.GONE : View.VISIBLE);
        picture.setImageBitmap(viewModel.shown());
        boolean isEmpty = !isCameraOpen && viewModel.shown() == null;
        activity.findViewById(R.id.placeholder).setVisibility(isEmpty ? View.VISIBLE : View.GONE);
    }

    private void showRow(View view, ScreenContent.Row row) {
        view.setVisibility(row == null ? View.GONE : View.VISIBLE);
        if (row != null) {
            int color = activity.getColor(row.isLikely ? R.color.text : R.color.text_quiet);
            String percent = Texts.of(activity, row.percent);
            ((TextView) view.findViewById(R.id.row_label)).setText(row.label);
            ((TextView) view.findViewById(R.id.row_label)).setTextColor(color);
            ((TextView) view.findViewById(R.id.row_percent)).setText(percent);
            ((TextView) view.findViewById(R.id.row_percent)).setTextColor(color);
            view.setContentDescription(row.label + ", " + percent); // One thing to a screen reader, not three.
            ((ProgressBar) view.findViewById(R.id.row_bar)).setProgress(row.bar);
        }
    }

    private void showFigures(View view, ScreenContent.Figures figures) {
        view.setVisibility(figures == null ? View.GONE : View.VISIBLE);
        if (figures != null) {
            TextView name = (TextView) view.findViewById(R.id.figures_name);
            name.setText(figures.name);
            name.setTextColor(activity.getColor(ChartView.color(figures.ink)));
            for (int i = 0; i < VALUES.length; i++) {
                ((TextView) view.findViewById(VALUES[i])).setText(Texts.of(activity, figures.values.get(i)));
            }
        }
    }

    private void showText(int id, String text) {
        TextView view = (TextView) activity.findViewById(id);
        view.setVisibility(text.isEmpty() ? View.GONE : View.VISIBLE);
        if (!text.contentEquals(view.getText())) { // Setting the same text would be read out again.
            view.setText(text);
        }
    }

    private void askHowToShare(View button) {
        CharSequence[] ways = {
            activity.getString(R.string.share_picture), activity.getString(R.string.share_text), activity.getString(R.string.share_json)
        };
        new AlertDialog.Builder(activity).setTitle(R.string.share).setItems(ways, (dialog, way) -> share(way)).show();
    }

    private void share(int way) {
        ScreenContent content = content();
        if (!content.canShare) { // Something else is shown by now.
            return;
        }
        if (way == 0) {
            View above = activity.findViewById(content.hasPicture ? R.id.picture : R.id.title);
            Sharing.picture(activity, above, activity.findViewById(R.id.results));
        } else if (way == 1) {
            Sharing.text(activity, content);
        } else {
            Sharing.json(activity, content);
        }
    }

    private ScreenContent content() {
        return new ScreenContent(viewModel.state(), viewModel.threshold);
    }

    private void fillRuntimes() {
        List<String> names = new ArrayList<>();
        for (RuntimeFactory runtime : viewModel.runtimes) {
            names.add(runtime.name() + " " + runtime.accelerator());
        }
        fill(R.id.runtimes, names, viewModel.runtime, place -> {
            if (place != viewModel.runtime) {
                viewModel.select(place, viewModel.model, viewModel.threads);
                fillModels();
                fillThreads(); // One again, whatever the other runtime had.
            }
        });
    }

    private void fillModels() {
        final String[] names = viewModel.modelNames();
        List<String> shown = new ArrayList<>();
        int selected = 0;
        for (int i = 0; i < names.length; i++) {
            shown.add(names[i].substring(0, names[i].lastIndexOf('.')));
            selected = names[i].equals(viewModel.model) ? i : selected;
        }
        fill(R.id.models, shown, selected, place -> {
            if (!names[place].equals(viewModel.model)) {
                viewModel.select(viewModel.runtime, names[place], viewModel.threads);
            }
        });
        fillCompared(names, shown);
    }

    /** The models again, after a line that says none. */
    private void fillCompared(final String[] names, List<String> shown) {
        List<String> others = new ArrayList<>(shown);
        others.add(0, activity.getString(R.string.alone));
        int selected = 0;
        for (int i = 0; i < names.length; i++) {
            selected = names[i].equals(viewModel.compared) ? i + 1 : selected;
        }
        viewModel.compared = selected == 0 ? null : viewModel.compared; // It may be gone, or of another runtime.
        fill(R.id.compared, others, selected, place -> viewModel.compared = place == 0 ? null : names[place - 1]);
    }

    private void fillDurations() {
        List<String> shown = new ArrayList<>();
        int selected = 0;
        for (int i = 0; i < ClassifierViewModel.DURATIONS.length; i++) {
            int seconds = ClassifierViewModel.DURATIONS[i];
            boolean isShort = seconds < 60;
            shown.add(activity.getString(isShort ? R.string.duration_seconds : R.string.duration_minutes, isShort ? seconds : seconds / 60));
            selected = seconds == viewModel.seconds ? i : selected;
        }
        fill(R.id.durations, shown, selected, place -> viewModel.seconds = ClassifierViewModel.DURATIONS[place]);
    }

    private void fillThreads() {
        List<String> counts = new ArrayList<>();
        int most = Runtime.getRuntime().availableProcessors();
        for (int n = 1; n <= most; n++) {
            counts.add(Integer.toString(n));
        }
        fill(R.id.threads, counts, viewModel.threads - 1, place -> {
            if (place + 1 != viewModel.threads) {
                viewModel.select(viewModel.runtime, viewModel.model, place + 1);
            }
        });
    }

    private void fillThresholds() {
        List<String> shown = new ArrayList<>();
        int selected = 0;
        for (int i = 0; i < ScreenContent.THRESHOLDS.length; i++) {
            shown.add(activity.getString(R.string.threshold_value, ScreenContent.THRESHOLDS[i]));
            selected = ScreenContent.THRESHOLDS[i] == viewModel.threshold ? i : selected;
        }
        fill(R.id.thresholds, shown, selected, place -> viewModel.setThreshold(ScreenContent.THRESHOLDS[place]));
    }

    private interface Chosen {
        void on(int place);
    }

    private void fill(int id, List<String> names, int selected, final Chosen chosen) {
        Spinner spinner = (Spinner) activity.findViewById(id);
        ArrayAdapter<String> adapter = new ArrayAdapter<>(activity, android.R.layout.simple_spinner_item, names);
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        spinner.setOnItemSelectedListener(null);
        spinner.setAdapter(adapter);
        spinner.setSelection(selected);
        spinner.setOnItemSelectedListener(new AdapterView.OnItemSelectedListener() {
            @Override
            public void onItemSelected(AdapterView<?> parent, View view, int place, long row) {
                chosen.on(place);
            }

            @Override
            public void onNothingSelected(AdapterView<?> parent) {}
        });
    }

    private Button button(int id) {
        return (Button) activity.findViewById(id);
    }
}
