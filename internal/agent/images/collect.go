package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	collectFirst   = time.Minute
	collectEvery   = 5 * time.Minute
	collectTimeout = 4 * time.Minute
	// An image is kept this long after it came: a container may be on its way.
	minAge = 2 * time.Minute
	// What a node's status may say of images.
	maxListed = 50
	maxNames  = 5
)

// usage remembers when images were first and last seen in use.
type usage struct {
	mu          sync.Mutex // guards the fields below
	first, last map[string]time.Time
}

func newUsage() *usage {
	return &usage{first: map[string]time.Time{}, last: map[string]time.Time{}}
}

func (u *usage) touch(id string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last[id] = now
}

// see takes in which images are there and in use.
func (u *usage) see(images []*cri.Image, used map[string]bool, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	there := map[string]bool{}
	for _, image := range images {
		there[image.Id] = true
		if _, ok := u.first[image.Id]; !ok {
			u.first[image.Id] = now
		}
		if used[image.Id] {
			u.last[image.Id] = now
		}
	}
	gone := func(id string, _ time.Time) bool { return !there[id] }
	maps.DeleteFunc(u.first, gone)
	maps.DeleteFunc(u.last, gone)
}

// order sorts images that may be removed by the time of their last use.
func (u *usage) order(images []*cri.Image, used map[string]bool, now time.Time) []*cri.Image {
	u.mu.Lock()
	defer u.mu.Unlock()
	var free []*cri.Image
	for _, image := range images {
		if !used[image.Id] && !image.Pinned && now.Sub(u.first[image.Id]) >= minAge && now.Sub(u.last[image.Id]) >= minAge {
			free = append(free, image)
		}
	}
	slices.SortStableFunc(free, func(a, b *cri.Image) int {
		return cmp.Or(u.last[a.Id].Compare(u.last[b.Id]), u.first[a.Id].Compare(u.first[b.Id]))
	})
	return free
}

// Run keeps the disk of images from filling up until ctx ends.
func (p *Puller) Run(ctx context.Context) error {
	// Not at once: a node that starts has better to do.
	timer := time.NewTimer(collectFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := p.Collect(ctx); err != nil && ctx.Err() == nil {
			p.Log.Warn("collect unused images", "error", err)
		}
		timer.Reset(collectEvery)
	}
}

// Collect notes which images are in use and removes unused ones if the disk is
// too full.
func (p *Puller) Collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	answer, err := p.Images.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	used, err := p.used(ctx, answer.Images)
	if err != nil {
		return err
	}
	now := p.options.Now()
	p.usage.see(answer.Images, used, now)
	there := map[string]bool{}
	for _, image := range answer.Images {
		there[image.Id] = true
	}
	if err := p.ledger.keep(there); err != nil {
		p.Log.Warn("forget removed images", "error", err)
	}
	capacity, available, err := p.disk(ctx)
	if err != nil {
		return err
	}
	excess := excess(capacity, available, p.options.HighPercent, p.options.LowPercent)
	if excess == 0 {
		return nil
	}
	return p.free(ctx, p.usage.order(answer.Images, used, now), excess)
}

// excess is how many bytes must go, if any.
func excess(capacity, available uint64, high, low int) uint64 {
	if capacity == 0 || (capacity-available)*100 < capacity*uint64(high) {
		return 0
	}
	wanted := capacity / 100 * uint64(100-low)
	if wanted <= available {
		return 0
	}
	return wanted - available
}

func (p *Puller) free(ctx context.Context, candidates []*cri.Image, excess uint64) error {
	var freed uint64
	var problems []error
	for _, image := range candidates {
		if freed >= excess {
			break
		}
		if _, err := p.Images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image.Id}}); err != nil {
			problems = append(problems, fmt.Errorf("remove image %s: %w", image.Id, err))
			continue
		}
		p.Log.Info("removed unused image", "image", image.Id, "names", image.RepoTags, "bytes", image.Size)
		freed += image.Size
	}
	if freed < excess {
		problems = append(problems, fmt.Errorf("the disk of images is over %d %% full and only %d of %d bytes could be freed: remove files or enlarge it", p.options.HighPercent, freed, excess))
	}
	return errors.Join(problems...)
}

// used are the ids of images that a container or a pod needs.
func (p *Puller) used(ctx context.Context, images []*cri.Image) (map[string]bool, error) {
	answer, err := p.Runtime.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	byName := map[string]string{}
	for _, image := range images {
		for _, n := range append(slices.Clone(image.RepoTags), image.RepoDigests...) {
			byName[n] = image.Id
		}
	}
	used := map[string]bool{}
	add := func(n string) {
		used[n] = true
		if id, ok := byName[n]; ok {
			used[id] = true
		}
	}
	for _, container := range answer.Containers {
		add(container.ImageId)
		add(container.ImageRef)
		add(container.Image.GetImage())
	}
	for _, image := range p.options.InUse() {
		if n, err := parseName(image); err == nil {
			add(n.image)
			add(n.full())
		}
	}
	return used, nil
}

// disk is the size of the file system of images.
func (p *Puller) disk(ctx context.Context) (capacity, available uint64, err error) {
	answer, err := p.Images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the file system of images: %w", err)
	}
	if len(answer.ImageFilesystems) == 0 {
		return 0, 0, errors.New("the runtime names no file system of images")
	}
	dir := answer.ImageFilesystems[0].FsId.GetMountpoint()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return fs.Blocks * uint64(fs.Bsize), fs.Bavail * uint64(fs.Bsize), nil
}

// List returns the node's images for its status, the biggest first.
func (p *Puller) List(ctx context.Context) ([]corev1.ContainerImage, error) {
	answer, err := p.Images.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	slices.SortStableFunc(answer.Images, func(a, b *cri.Image) int { return cmp.Compare(b.Size, a.Size) })
	var list []corev1.ContainerImage
	for _, image := range answer.Images[:min(len(answer.Images), maxListed)] {
		names := append(slices.Clone(image.RepoDigests), image.RepoTags...)
		list = append(list, corev1.ContainerImage{Names: names[:min(len(names), maxNames)], SizeBytes: int64(image.Size)})
	}
	return list, nil
}
