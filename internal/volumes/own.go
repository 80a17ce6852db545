package volumes

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// own gives a tree to a group that may read and write it, and makes what is
// created in it belong to the group too. With onlyIfRoot nothing is done when
// the top already belongs to it. No link is followed out of the tree.
func own(dir string, group int, onlyIfRoot bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	const need = fs.ModeSetgid | 0o770
	if info, err := root.Stat("."); err != nil {
		return err
	} else if stat, ok := info.Sys().(*syscall.Stat_t); onlyIfRoot && ok && int(stat.Gid) == group && info.Mode()&need == need {
		return nil
	}
	// The top comes last: a crash before leaves it as it was, and all is done again.
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		return give(root, path, group)
	})
	if err == nil {
		err = give(root, ".", group)
	}
	if err != nil {
		return fmt.Errorf("give volume %s to group %d: %w", dir, group, err)
	}
	return nil
}

func give(root *os.Root, path string, group int) error {
	info, err := root.Lstat(path)
	if err != nil {
		return err
	}
	if err := root.Lchown(path, -1, group); err != nil {
		return err
	}
	mode := info.Mode()
	switch {
	case mode&fs.ModeSymlink != 0:
		return nil
	case mode.IsDir():
		mode |= fs.ModeSetgid | 0o770
	default:
		mode |= 0o660
	}
	return root.Chmod(path, mode&(fs.ModePerm|fs.ModeSetgid|fs.ModeSetuid|fs.ModeSticky))
}
