package stats

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// keepUsage is how long a look at a directory counts: it visits every file.
const keepUsage = time.Minute

// usage is what a directory takes.
type usage struct {
	at            time.Time
	bytes, inodes uint64
}

// directory measures dir, or answers what it took a moment ago.
func (r *Reader) directory(ctx context.Context, dir string) usage {
	now := r.options.Now()
	r.mu.Lock()
	known, ok := r.usages[dir]
	r.mu.Unlock()
	if ok && now.Sub(known.at) < keepUsage {
		return known
	}
	fresh := measure(ctx, dir)
	fresh.at = now
	r.mu.Lock()
	defer r.mu.Unlock()
	r.usages[dir] = fresh
	for name, old := range r.usages {
		if now.Sub(old.at) > 2*keepUsage {
			delete(r.usages, name)
		}
	}
	return fresh
}

// measure adds up the blocks of the files below dir, on its own file system.
// What cannot be read or vanishes meanwhile does not count.
func measure(ctx context.Context, dir string) usage {
	var total usage
	var top unix.Stat_t
	if unix.Lstat(dir, &top) != nil {
		return total
	}
	counted := map[uint64]bool{} // files with several names
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok:
			return nil
		case stat.Dev != top.Dev:
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case stat.Nlink > 1 && !entry.IsDir():
			if counted[stat.Ino] {
				return nil
			}
			counted[stat.Ino] = true
		}
		total.bytes += uint64(stat.Blocks) * 512
		total.inodes++
		return nil
	})
	return total
}

// volumes measures what a pod's volumes hold; disk is what of it lies on the
// node's own file system.
func (r *Reader) volumes(ctx context.Context, uid string, now metav1.Time) (stats []statsapi.VolumeStats, disk uint64) {
	base := filepath.Join(r.options.Dir, "pods", uid, "volumes")
	kinds, err := os.ReadDir(base)
	if err != nil {
		return nil, 0
	}
	var top unix.Stat_t
	if unix.Lstat(base, &top) != nil {
		return nil, 0
	}
	for _, kind := range kinds {
		names, err := os.ReadDir(filepath.Join(base, kind.Name()))
		if err != nil {
			continue
		}
		for _, name := range names {
			dir := filepath.Join(base, kind.Name(), name.Name())
			volume := statsapi.VolumeStats{Name: name.Name()}
			if fs := fileSystem(dir, now); fs != nil {
				volume.FsStats = *fs
			}
			var self unix.Stat_t
			if unix.Lstat(dir, &self) == nil && self.Dev == top.Dev {
				// It shares the node's file system: only its own files count.
				taken := r.directory(ctx, dir)
				volume.UsedBytes, volume.InodesUsed = &taken.bytes, &taken.inodes
				disk += taken.bytes
			}
			stats = append(stats, volume)
		}
	}
	return stats, disk
}
