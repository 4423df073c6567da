package edgevit.demo;

import android.Manifest;
import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.net.Uri;
import android.os.Bundle;
import android.view.TextureView;
import android.view.View;
import edgevit.core.Problems;

/** Hosts the screen: keeps the view model over rotation, and does what only an activity can. */
public final class MainActivity extends Activity implements ClassifierScreen.Host {
    private static final int PICK = 1;
    private static final int ALLOW_CAMERA = 2;
    private static final String CAMERA_OPEN = "camera_open";

    private ClassifierViewModel viewModel;
    private ClassifierScreen screen;
    private CameraFeed camera;
    private boolean isCameraWanted;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.main);
        drawBehindBars();
        Object kept = getLastNonConfigurationInstance();
        viewModel = kept != null ? (ClassifierViewModel) kept : new ClassifierViewModel(this);
        screen = new ClassifierScreen(this, viewModel, this);
        camera = new CameraFeed(this, (TextureView) findViewById(R.id.camera_view), viewModel, this::onCameraFailed);
        isCameraWanted = saved != null && saved.getBoolean(CAMERA_OPEN);
    }

    /** From Android 15 on every app is drawn behind the system's bars: what is read or pressed is kept clear of them. */
    private void drawBehindBars() {
        final View root = findViewById(R.id.root);
        final View page = findViewById(R.id.page);
        root.setSystemUiVisibility(
                root.getSystemUiVisibility() | View.SYSTEM_UI_FLAG_LAYOUT_STABLE | View.SYSTEM_UI_FLAG_LAYOUT_FULLSCREEN
                        | View.SYSTEM_UI_FLAG_LAYOUT_HIDE_NAVIGATION);
        root.setOnApplyWindowInsetsListener((view, insets) -> {
            view.setPadding(insets.getSystemWindowInsetLeft(), insets.getSystemWindowInsetTop(), insets.getSystemWindowInsetRight(), 0);
            page.setPadding(0, 0, 0, insets.getSystemWindowInsetBottom()); // It scrolls under the bar below.
            return insets.consumeSystemWindowInsets();
        });
    }

    @Override
    protected void onResume() {
        super.onResume();
        viewModel.guard.setForeground(true);
        viewModel.listen(this::showState);
        screen.refresh();
        if (isCameraWanted) {
            openCamera();
        }
        showState();
    }

    @Override
    protected void onPause() {
        if (!isChangingConfigurations()) { // A rotation leaves the app where it is.
            viewModel.guard.setForeground(false);
        }
        camera.close();
        viewModel.listen(null);
        super.onPause();
    }

    @Override
    protected void onSaveInstanceState(Bundle out) {
        super.onSaveInstanceState(out);
        out.putBoolean(CAMERA_OPEN, isCameraWanted);
    }

    @Override
    public Object onRetainNonConfigurationInstance() {
        return viewModel;
    }

    @Override
    protected void onDestroy() {
        if (!isChangingConfigurations()) {
            viewModel.close();
        }
        super.onDestroy();
    }

    @Override
    public void onPickPressed() {
        closeCamera();
        Intent intent = new Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*");
        try {
            startActivityForResult(intent, PICK);
        } catch (ActivityNotFoundException e) {
            viewModel.report(Problems.noPicker());
        }
    }

    @Override
    public void onSamplePressed() {
        closeCamera();
        viewModel.classify(Uri.parse("android.resource://" + getPackageName() + "/" + R.drawable.sample));
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        if (request == PICK && result == RESULT_OK && data != null && data.getData() != null) {
            viewModel.classify(data.getData());
        }
    }

    @Override
    public void onCameraPressed() {
        if (isCameraWanted) {
            closeCamera();
            viewModel.reset();
        } else if (!getPackageManager().hasSystemFeature(PackageManager.FEATURE_CAMERA_ANY)) {
            viewModel.report(Problems.noCamera());
        } else if (checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED) {
            openCamera();
        } else {
            requestPermissions(new String[] {Manifest.permission.CAMERA}, ALLOW_CAMERA);
        }
    }

    /** The camera would take cores and heat from what is measured. */
    @Override
    public void onMeasurePressed() {
        closeCamera();
        viewModel.measure();
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] permissions, int[] results) {
        if (request != ALLOW_CAMERA || results.length == 0) { // Empty: the question was interrupted, not answered.
            return;
        }
        if (results[0] == PackageManager.PERMISSION_GRANTED) {
            openCamera();
        } else {
            viewModel.report(Problems.cameraRefused());
        }
    }

    private void openCamera() {
        isCameraWanted = true;
        viewModel.reset();
        camera.open();
        showState();
    }

    private void closeCamera() {
        isCameraWanted = false;
        camera.close();
    }

    private void onCameraFailed(edgevit.core.UiState.Problem problem) {
        closeCamera();
        viewModel.report(problem);
    }

    private void showState() {
        screen.show(isCameraWanted);
    }
}
