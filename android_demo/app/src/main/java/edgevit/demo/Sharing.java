package edgevit.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.ClipData;
import android.content.Intent;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.net.Uri;
import android.util.Log;
import android.view.View;
import android.widget.Toast;
import edgevit.core.ScreenContent;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** Shares what the screen shows: as text, as JSON, or as a picture of it. */
final class Sharing {
    private static final String TAG = "EdgeVit";

    private Sharing() {}

    static void text(Activity activity, ScreenContent content) {
        send(activity, new Intent(Intent.ACTION_SEND).setType("text/plain")
                .putExtra(Intent.EXTRA_TEXT, Texts.of(activity, content.toText(), "\n")));
    }

    static void json(Activity activity, ScreenContent content) {
        File file = SharedFiles.file(activity, "edge_vit.json");
        try (FileOutputStream out = new FileOutputStream(file)) {
            out.write(content.json.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            fail(activity, e);
            return;
        }
        send(activity, file, "application/json");
    }

    /**
     * Share a picture of the given views, one below the other, on the screen's own ground.
     *
     * @param views those that are gone are left out
     */
    static void picture(Activity activity, View... views) {
        int margin = activity.getResources().getDimensionPixelSize(R.dimen.share_margin);
        int width = 0;
        int height = margin;
        for (View view : views) {
            boolean isShown = view.getVisibility() != View.GONE;
            width = isShown ? Math.max(width, view.getWidth()) : width;
            height += isShown ? view.getHeight() + margin : 0;
        }
        Bitmap bitmap = Bitmap.createBitmap(width + 2 * margin, height, Bitmap.Config.ARGB_8888);
        Canvas canvas = new Canvas(bitmap);
        canvas.drawColor(activity.getColor(R.color.background));
        canvas.translate(margin, margin);
        for (View view : views) {
            if (view.getVisibility() != View.GONE) {
                view.draw(canvas);
                canvas.translate(0, view.getHeight() + margin);
            }
        }
        File file = SharedFiles.file(activity, "edge_vit.png");
        try (FileOutputStream out = new FileOutputStream(file)) {
            bitmap.compress(Bitmap.CompressFormat.PNG, 100, out);
        } catch (IOException e) {
            fail(activity, e);
            return;
        }
        send(activity, file, "image/png");
    }

    private static void send(Activity activity, File file, String type) {
        Uri address = SharedFiles.address(activity, file);
        Intent intent = new Intent(Intent.ACTION_SEND).setType(type).putExtra(Intent.EXTRA_STREAM, address);
        intent.setClipData(ClipData.newRawUri(null, address)); // The right to read it goes with this.
        send(activity, intent.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION));
    }

    private static void send(Activity activity, Intent intent) {
        try {
            activity.startActivity(Intent.createChooser(intent, activity.getString(R.string.share)));
        } catch (ActivityNotFoundException e) {
            Toast.makeText(activity, R.string.no_share, Toast.LENGTH_LONG).show();
        }
    }

    private static void fail(Activity activity, IOException e) {
        Log.e(TAG, "cannot write what is shared: " + e.getMessage());
        Toast.makeText(activity, e.getMessage(), Toast.LENGTH_LONG).show();
    }
}
