package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	corev1 "k8s.io/api/core/v1"
)

// hostPath checks or makes what the volume's type asks for.
func hostPath(source *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	info, err := os.Stat(source.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	switch kind {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return os.MkdirAll(source.Path, 0o755)
		}
		return expect(info.IsDir(), source.Path, "a directory")
	case corev1.HostPathFileOrCreate:
		if missing {
			file, err := os.OpenFile(source.Path, os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return err
			}
			return file.Close()
		}
		return expect(info.Mode().IsRegular(), source.Path, "a file")
	}
	if missing {
		return fmt.Errorf("hostPath type check failed: %s is not %s", source.Path, describe(kind))
	}
	m := info.Mode()
	switch kind {
	case corev1.HostPathDirectory:
		return expect(m.IsDir(), source.Path, describe(kind))
	case corev1.HostPathFile:
		return expect(m.IsRegular(), source.Path, describe(kind))
	case corev1.HostPathSocket:
		return expect(m&fs.ModeSocket != 0, source.Path, describe(kind))
	case corev1.HostPathCharDev:
		return expect(m&fs.ModeCharDevice != 0, source.Path, describe(kind))
	case corev1.HostPathBlockDev:
		return expect(m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0, source.Path, describe(kind))
	}
	return fmt.Errorf("hostPath type %q is unknown", kind)
}

func describe(kind corev1.HostPathType) string {
	switch kind {
	case corev1.HostPathDirectory:
		return "a directory"
	case corev1.HostPathFile:
		return "a file"
	case corev1.HostPathSocket:
		return "a socket file"
	case corev1.HostPathCharDev:
		return "a character device"
	case corev1.HostPathBlockDev:
		return "a block device"
	}
	return string(kind)
}

func expect(ok bool, path, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("hostPath type check failed: %s is not %s", path, what)
}
