package edgevit.demo;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;

/**
 * Hands out the one folder of files that the user shares, to whom the user shares them with. A record may be larger than what an
 * intent can carry (1 MB), and a picture has no place in one.
 */
public final class SharedFiles extends ContentProvider {
    private static final String FOLDER = "shared";

    /** Return the file of this name, in a folder that is there. */
    static File file(Context context, String name) {
        File folder = new File(context.getCacheDir(), FOLDER);
        folder.mkdirs();
        return new File(folder, name);
    }

    /** Return the address under which another app may read it. */
    static Uri address(Context context, File file) {
        return new Uri.Builder().scheme("content").authority(context.getPackageName() + ".shared").appendPath(file.getName()).build();
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        if (!mode.equals("r")) {
            throw new FileNotFoundException("shared files are for reading, not for mode " + mode);
        }
        return ParcelFileDescriptor.open(found(uri), ParcelFileDescriptor.MODE_READ_ONLY);
    }

    /** Return the file of an address: a name of its own, no way out of the folder. */
    private File found(Uri uri) throws FileNotFoundException {
        String name = uri.getLastPathSegment();
        if (name == null || uri.getPathSegments().size() != 1 || !name.matches("[A-Za-z0-9_-]+\\.(json|png)")) {
            throw new FileNotFoundException("no shared file " + uri);
        }
        return file(getContext(), name);
    }

    @Override
    public String getType(Uri uri) {
        return String.valueOf(uri.getLastPathSegment()).endsWith(".png") ? "image/png" : "application/json";
    }

    @Override
    public Cursor query(Uri uri, String[] columns, String selection, String[] arguments, String order) {
        MatrixCursor cursor = new MatrixCursor(new String[] {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE});
        try {
            File file = found(uri);
            cursor.addRow(new Object[] {file.getName(), file.length()});
        } catch (FileNotFoundException e) {
            return cursor; // Empty: there is none.
        }
        return cursor;
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException("shared files are for reading");
    }

    @Override
    public int update(Uri uri, ContentValues values, String selection, String[] arguments) {
        throw new UnsupportedOperationException("shared files are for reading");
    }

    @Override
    public int delete(Uri uri, String selection, String[] arguments) {
        throw new UnsupportedOperationException("shared files are for reading");
    }
}
