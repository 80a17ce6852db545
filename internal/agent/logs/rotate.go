package logs

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

const (
	rotateTimeout = 30 * time.Second
	rotatedStamp  = "20060102-150405.000000"
	zipped        = ".gz"
	unfinished    = ".tmp"
)

// Reopener is what rotation needs of the container runtime.
type Reopener interface {
	ListContainers(ctx context.Context, in *cri.ListContainersRequest, opts ...grpc.CallOption) (*cri.ListContainersResponse, error)
	ReopenContainerLog(ctx context.Context, in *cri.ReopenContainerLogRequest, opts ...grpc.CallOption) (*cri.ReopenContainerLogResponse, error)
}

// Options say when a log is rotated and what is kept of it.
type Options struct {
	// Dir holds the pods' directories.
	Dir string
	// MaxSize is how far a log may grow; 0 is 10 MiB.
	MaxSize int64
	// MaxFiles is how many files of a container there are, with the one being
	// written; 0 is 5.
	MaxFiles int
	// Every is how often sizes are looked at; 0 is 10 s.
	Every time.Duration
	Log   *slog.Logger
}

// Rotator rotates the logs of all containers below a directory. It looks at
// sizes only and asks the runtime nothing until one is over its limit.
type Rotator struct {
	runtime Reopener
	options Options
}

// New returns a Rotator of the pods' logs below options.Dir.
func New(runtime Reopener, options Options) *Rotator {
	options.MaxSize = cmp.Or(options.MaxSize, 10<<20)
	options.MaxFiles = max(cmp.Or(options.MaxFiles, 5), 2)
	options.Every = cmp.Or(options.Every, 10*time.Second)
	options.Log = cmp.Or(options.Log, slog.Default())
	return &Rotator{runtime: runtime, options: options}
}

// Run rotates until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.options.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := r.Once(ctx); err != nil && ctx.Err() == nil {
			r.options.Log.Warn("rotate container logs", "error", err)
		}
	}
}

// Once rotates every log that is over its limit now.
func (r *Rotator) Once(ctx context.Context) error {
	paths, err := filepath.Glob(filepath.Join(r.options.Dir, "*", "*", "*.log"))
	if err != nil {
		return err
	}
	var problems []error
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() || info.Size() < r.options.MaxSize {
			continue
		}
		if err := r.rotate(ctx, path); err != nil {
			problems = append(problems, fmt.Errorf("rotate %s: %w", path, err))
		}
	}
	return errors.Join(problems...)
}

func (r *Rotator) rotate(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, rotateTimeout)
	defer cancel()
	id, err := r.writer(ctx, path)
	if err != nil || id == "" {
		return err // a container that has ended writes no more
	}
	old, err := rotated(path)
	if err != nil {
		return err
	}
	// With the file that is to come there may be MaxFiles-1 rotated ones.
	for len(old) > r.options.MaxFiles-2 {
		if err := os.Remove(old[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		old = old[1:]
	}
	for _, file := range old {
		if !strings.HasSuffix(file, zipped) {
			if err := compress(file); err != nil {
				return fmt.Errorf("compress %s: %w", file, err)
			}
		}
	}
	aside := path + "." + time.Now().Format(rotatedStamp)
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	if _, err := r.runtime.ReopenContainerLog(ctx, &cri.ReopenContainerLogRequest{ContainerId: id}); err != nil {
		// It goes on writing to the file: put it back where it is looked for.
		return errors.Join(fmt.Errorf("reopen log of container %s: %w", id, err), os.Rename(aside, path))
	}
	return nil
}

// writer is the running container that writes to path: ROOT/NS_NAME_UID/CONTAINER/ATTEMPT.log.
func (r *Rotator) writer(ctx context.Context, path string) (string, error) {
	dir := filepath.Dir(path)
	pod := strings.Split(filepath.Base(filepath.Dir(dir)), "_")
	answer, err := r.runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{
		State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING},
		LabelSelector: map[string]string{
			kubelettypes.KubernetesPodUIDLabel:        pod[len(pod)-1],
			kubelettypes.KubernetesContainerNameLabel: filepath.Base(dir),
		},
	}})
	if err != nil {
		return "", fmt.Errorf("list containers: %w", err)
	}
	attempt := strings.TrimSuffix(filepath.Base(path), ".log")
	for _, container := range answer.Containers {
		if strconv.FormatUint(uint64(container.Metadata.GetAttempt()), 10) == attempt {
			return container.Id, nil
		}
	}
	return "", nil
}

// rotated lists the rotated files of the log at path, oldest first, and deletes
// what a crash left half-made.
func rotated(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		full := filepath.Join(filepath.Dir(path), entry.Name())
		if !strings.HasPrefix(full, path+".") {
			continue
		}
		if strings.HasSuffix(full, unfinished) {
			if err := os.Remove(full); err != nil {
				return nil, err
			}
			continue
		}
		files = append(files, full)
	}
	slices.Sort(files)
	return slices.CompactFunc(files, func(a, b string) bool { return a+zipped == b }), nil
}

// compress replaces a file by its gzipped form.
func compress(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := path + unfinished
	out, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(out)
	_, err = io.Copy(zip, in)
	if err = errors.Join(err, zip.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, path+zipped); err != nil {
		return err
	}
	return os.Remove(path)
}

// Remove deletes the log at path and all that was rotated out of it.
func Remove(path string) error {
	files, err := rotated(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var problems []error
	for _, file := range append(files, path) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
