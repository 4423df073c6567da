package edgevit.demo;

import android.app.Activity;
import android.content.Context;
import android.graphics.ImageFormat;
import android.graphics.Matrix;
import android.graphics.RectF;
import android.graphics.SurfaceTexture;
import android.hardware.camera2.CameraAccessException;
import android.hardware.camera2.CameraCaptureSession;
import android.hardware.camera2.CameraCharacteristics;
import android.hardware.camera2.CameraDevice;
import android.hardware.camera2.CameraManager;
import android.hardware.camera2.CaptureRequest;
import android.hardware.camera2.params.StreamConfigurationMap;
import android.media.Image;
import android.media.ImageReader;
import android.util.Size;
import android.view.Surface;
import android.view.TextureView;
import edgevit.core.Problems;
import edgevit.core.Say;
import edgevit.core.Text;
import edgevit.core.UiState.Problem;
import edgevit.core.Yuv;
import java.util.Arrays;

/**
 * Shows the camera and hands its frames to the view model, as many as that can take.
 *
 * <p>Everything runs on the main thread except the camera itself and the classifying; a frame is only copied there.
 */
final class CameraFeed implements TextureView.SurfaceTextureListener {
    /** Told when the camera cannot go on. */
    interface Failure {
        void on(Problem problem);
    }

    private static final int PREVIEW_PIXELS = 1280 * 720;
    private static final int FRAME_PIXELS = 640 * 480;
    private static final int DEGREES_A_QUARTER = 90;

    private final Activity activity;
    private final TextureView view;
    private final ClassifierViewModel viewModel;
    private final Failure failure;
    private boolean isOpen;
    private CameraDevice device;
    private CameraCharacteristics facts;
    private ImageReader reader;
    private Size size;
    private Yuv frame;

    CameraFeed(Activity activity, TextureView view, ClassifierViewModel viewModel, Failure failure) {
        this.activity = activity;
        this.view = view;
        this.viewModel = viewModel;
        this.failure = failure;
        view.setSurfaceTextureListener(this);
    }

    void open() {
        isOpen = true;
        viewModel.guard.setCameraOpen(true);
        if (view.isAvailable()) {
            start();
        } // Otherwise once the view has its surface.
    }

    void close() {
        isOpen = false;
        viewModel.guard.setCameraOpen(false);
        if (device != null) {
            device.close();
            device = null;
        }
        if (reader != null) {
            reader.close();
            reader = null;
        }
    }

    private void start() {
        CameraManager manager = (CameraManager) activity.getSystemService(Context.CAMERA_SERVICE);
        try {
            String id = choose(manager);
            if (id == null) {
                failure.on(Problems.noCamera());
                return;
            }
            facts = manager.getCameraCharacteristics(id);
            StreamConfigurationMap map = facts.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP);
            size = closest(map.getOutputSizes(SurfaceTexture.class), PREVIEW_PIXELS);
            Size small = closest(map.getOutputSizes(ImageFormat.YUV_420_888), FRAME_PIXELS);
            frame = new Yuv(small.getWidth(), small.getHeight());
            reader = ImageReader.newInstance(small.getWidth(), small.getHeight(), ImageFormat.YUV_420_888, 2);
            reader.setOnImageAvailableListener(this::onFrame, null);
            manager.openCamera(id, new DeviceCallback(), null);
        } catch (CameraAccessException e) {
            failure.on(Problems.cameraFailed(reason(e)));
        } catch (SecurityException e) { // Taken away between asking and opening.
            failure.on(Problems.cameraRefused());
        }
    }

    /** Return a camera on the back, else any, null if there is none. */
    private static String choose(CameraManager manager) throws CameraAccessException {
        String[] ids = manager.getCameraIdList();
        for (String id : ids) {
            Integer facing = manager.getCameraCharacteristics(id).get(CameraCharacteristics.LENS_FACING);
            if (facing != null && facing == CameraCharacteristics.LENS_FACING_BACK) {
                return id;
            }
        }
        return ids.length > 0 ? ids[0] : null;
    }

    private static Size closest(Size[] sizes, int pixels) {
        Size best = sizes[0];
        for (Size candidate : sizes) {
            if (distance(candidate, pixels) < distance(best, pixels)) {
                best = candidate;
            }
        }
        return best;
    }

    private static int distance(Size size, int pixels) {
        return Math.abs(size.getWidth() * size.getHeight() - pixels);
    }

    private final class DeviceCallback extends CameraDevice.StateCallback {
        @Override
        public void onOpened(CameraDevice opened) {
            if (!isOpen) { // Closed while it was opening.
                opened.close();
                return;
            }
            device = opened;
            SurfaceTexture texture = view.getSurfaceTexture();
            if (texture == null) {
                return;
            }
            texture.setDefaultBufferSize(size.getWidth(), size.getHeight());
            turnView();
            stream(opened, new Surface(texture), reader.getSurface());
        }

        @Override
        public void onDisconnected(CameraDevice gone) {
            fail(gone, Text.of(Say.REASON_TAKEN));
        }

        @Override
        public void onError(CameraDevice broken, int error) {
            boolean isTaken = error == ERROR_CAMERA_IN_USE || error == ERROR_MAX_CAMERAS_IN_USE;
            fail(broken, isTaken ? Text.of(Say.REASON_IN_USE) : Text.of(Say.REASON_ERROR, error));
        }

        private void fail(CameraDevice camera, Text why) {
            camera.close();
            device = null;
            if (isOpen) {
                failure.on(Problems.cameraFailed(why));
            }
        }
    }

    // The method of API 21; its successor came with API 28.
    @SuppressWarnings("deprecation")
    private void stream(final CameraDevice camera, final Surface preview, final Surface frames) {
        try {
            camera.createCaptureSession(Arrays.asList(preview, frames), new CameraCaptureSession.StateCallback() {
                @Override
                public void onConfigured(CameraCaptureSession session) {
                    try {
                        CaptureRequest.Builder request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW);
                        request.addTarget(preview);
                        request.addTarget(frames);
                        request.set(CaptureRequest.CONTROL_AF_MODE, CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_PICTURE);
                        session.setRepeatingRequest(request.build(), null, null);
                    } catch (CameraAccessException | IllegalStateException e) { // Also: closed meanwhile.
                        onConfigureFailed(session);
                    }
                }

                @Override
                public void onConfigureFailed(CameraCaptureSession session) {
                    if (isOpen) {
                        failure.on(Problems.cameraFailed(Text.of(Say.REASON_PREVIEW)));
                    }
                }
            }, null);
        } catch (CameraAccessException e) {
            failure.on(Problems.cameraFailed(reason(e)));
        }
    }

    /** Copy a frame out when the view model has time for one; it goes back to the camera at once. */
    private void onFrame(ImageReader source) {
        try (Image image = source.acquireLatestImage()) {
            if (image == null || !isOpen || !viewModel.wantsFrame()) {
                return;
            }
            for (int i = 0; i < 3; i++) {
                Image.Plane plane = image.getPlanes()[i];
                frame.setPlane(i, plane.getBuffer(), plane.getRowStride(), plane.getPixelStride());
            }
        }
        Integer facing = facts.get(CameraCharacteristics.LENS_FACING);
        boolean isFront = facing != null && facing == CameraCharacteristics.LENS_FACING_FRONT;
        int turned = DEGREES_A_QUARTER * quarters();
        frame.orientation = Yuv.orientation(facts.get(CameraCharacteristics.SENSOR_ORIENTATION), turned, isFront);
        viewModel.classify(frame);
    }

    /** Keep the preview's proportions, and turn it when the device is not in its natural orientation. */
    private void turnView() {
        float width = view.getWidth();
        float height = view.getHeight();
        // In a phone's natural orientation the sensor's long side stands upright.
        float longer = Math.max(size.getWidth(), size.getHeight());
        float shorter = Math.min(size.getWidth(), size.getHeight());
        boolean isSideways = quarters() % 2 == 1;
        float scale = Math.min(width / (isSideways ? longer : shorter), height / (isSideways ? shorter : longer));
        RectF shown = new RectF(0, 0, shorter * scale, longer * scale);
        shown.offset(width / 2 - shown.centerX(), height / 2 - shown.centerY());
        Matrix matrix = new Matrix();
        matrix.setRectToRect(new RectF(0, 0, width, height), shown, Matrix.ScaleToFit.FILL);
        matrix.postRotate(-DEGREES_A_QUARTER * quarters(), width / 2, height / 2);
        view.setTransform(matrix);
    }

    private int quarters() {
        return activity.getWindowManager().getDefaultDisplay().getRotation();
    }

    private static Text reason(CameraAccessException e) {
        boolean isDisabled = e.getReason() == CameraAccessException.CAMERA_DISABLED;
        return isDisabled ? Text.of(Say.REASON_DISABLED) : Text.of(Say.REASON_ERROR, e.getReason());
    }

    @Override
    public void onSurfaceTextureAvailable(SurfaceTexture texture, int width, int height) {
        if (isOpen && device == null) {
            start();
        }
    }

    @Override
    public void onSurfaceTextureSizeChanged(SurfaceTexture texture, int width, int height) {
        if (device != null) {
            turnView();
        }
    }

    @Override
    public boolean onSurfaceTextureDestroyed(SurfaceTexture texture) {
        return true;
    }

    @Override
    public void onSurfaceTextureUpdated(SurfaceTexture texture) {}
}
