package edgevit.demo;

import android.content.ContentResolver;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.Matrix;
import android.net.Uri;
import edgevit.core.Exif;
import edgevit.core.Problems;
import edgevit.core.Say;
import edgevit.core.Text;
import edgevit.core.UiState.Problem;
import edgevit.core.Yuv;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;

/** Reads pictures into plain pixels, as the file has them. The pixel buffer is kept for the next picture. */
final class Pictures {
    private static final int MAX_FILE_BYTES = 100 << 20;
    private static final long MAX_PIXELS = 50_000_000;
    private static final int SHOWN_SIDE = 1024;

    /** Straight RGBA of the last picture or frame; only the first {@code 4 * width * height} bytes count. */
    byte[] rgba = new byte[0];
    int width;
    int height;
    int orientation;
    /** A small upright copy to show. */
    Bitmap shown;

    /** Thrown with what the screen is to say. */
    static final class Unusable extends Exception {
        private static final long serialVersionUID = 1L;

        final transient Problem problem;

        Unusable(Problem problem) {
            super(problem.message.say.name());
            this.problem = problem;
        }
    }

    /** Return how many pixels can be held: the copy may take half of the app's heap. */
    static long maxPixels() {
        return Math.min(MAX_PIXELS, Runtime.getRuntime().maxMemory() / 8);
    }

    void read(ContentResolver resolver, Uri uri) throws Unusable {
        try {
            byte[] file = readFile(resolver, uri);
            BitmapFactory.Options bounds = new BitmapFactory.Options();
            bounds.inJustDecodeBounds = true;
            BitmapFactory.decodeByteArray(file, 0, file.length, bounds);
            if (bounds.outWidth <= 0 || bounds.outHeight <= 0) {
                throw new Unusable(Problems.unreadable(Text.of(Say.REASON_FORMAT)));
            }
            checkSize(bounds.outWidth, bounds.outHeight);
            orientation = Exif.orientation(file);
            decode(file, bounds);
        } catch (IOException | SecurityException e) {
            throw new Unusable(Problems.unreadable(Text.raw(String.valueOf(e.getMessage()))));
        } catch (OutOfMemoryError e) {
            rgba = new byte[0];
            throw new Unusable(Problems.tooLarge(width, height, maxPixels()));
        }
    }

    /** Take over a camera frame. */
    void take(Yuv frame) {
        width = frame.width;
        height = frame.height;
        orientation = frame.orientation;
        if (rgba.length < 4 * width * height) {
            rgba = new byte[4 * width * height];
        }
        frame.toRgba(rgba);
    }

    private void decode(byte[] file, BitmapFactory.Options bounds) throws Unusable {
        width = bounds.outWidth;
        height = bounds.outHeight;
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        options.inPremultiplied = false; // Premultiplying loses bits that the model was trained with.
        options.inScaled = false;
        Bitmap bitmap = BitmapFactory.decodeByteArray(file, 0, file.length, options);
        if (bitmap == null) {
            throw new Unusable(Problems.unreadable(Text.of(Say.REASON_DAMAGED)));
        }
        if (bitmap.getConfig() != Bitmap.Config.ARGB_8888) { // 16 bits a sample come as half floats.
            bitmap = bitmap.copy(Bitmap.Config.ARGB_8888, false);
        }
        copyPixels(bitmap);
        bitmap.recycle();
        shown = show(file, Math.max(width, height));
    }

    private void copyPixels(Bitmap bitmap) {
        width = bitmap.getWidth();
        height = bitmap.getHeight();
        if (rgba.length < bitmap.getByteCount()) {
            rgba = new byte[bitmap.getByteCount()];
        }
        // Not getPixels: that would convert a wide colour space to sRGB, which Python does not do.
        bitmap.copyPixelsToBuffer(ByteBuffer.wrap(rgba));
    }

    /** Decode once more, small, since a bitmap that is not premultiplied cannot be drawn. */
    private Bitmap show(byte[] file, int longer) {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inSampleSize = Integer.highestOneBit(Math.max(1, longer / SHOWN_SIDE));
        Bitmap small = BitmapFactory.decodeByteArray(file, 0, file.length, options);
        if (small == null || orientation == Exif.UPRIGHT) {
            return small;
        }
        Matrix matrix = new Matrix();
        if (orientation == 2 || orientation == 5 || orientation == 7 || orientation == 4) {
            matrix.postScale(orientation == 4 ? 1 : -1, orientation == 4 ? -1 : 1);
        }
        matrix.postRotate(new int[] {0, 0, 0, 180, 0, 270, 90, 90, 270}[orientation]);
        return Bitmap.createBitmap(small, 0, 0, small.getWidth(), small.getHeight(), matrix, true);
    }

    private static void checkSize(int width, int height) throws Unusable {
        if ((long) width * height > maxPixels()) {
            throw new Unusable(Problems.tooLarge(width, height, maxPixels()));
        }
    }

    private static byte[] readFile(ContentResolver resolver, Uri uri) throws IOException {
        try (InputStream in = resolver.openInputStream(uri)) {
            if (in == null) {
                throw new IOException("nothing there");
            }
            ByteArrayOutputStream all = new ByteArrayOutputStream();
            byte[] block = new byte[1 << 16];
            for (int got = in.read(block); got >= 0; got = in.read(block)) {
                all.write(block, 0, got);
                if (all.size() > MAX_FILE_BYTES) {
                    throw new IOException("the file is over " + (MAX_FILE_BYTES >> 20) + " MiB");
                }
            }
            return all.toByteArray();
        }
    }
}
