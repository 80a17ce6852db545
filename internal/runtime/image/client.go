package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Namespace is where CRI keeps its images and containers.
const Namespace = "k8s.io"

// connectWait bounds how long a call waits for a runtime that does not answer.
const connectWait = 10 * time.Second

const (
	pinnedLabel = "io.cri-containerd.pinned"
	pinned      = "pinned"
	// ownLabel marks the images that the runtime itself needs.
	ownLabel = "sinawi.dev/own"
)

// Image is one name of an image in a runtime.
type Image struct {
	Name   string
	Digest string
	// Platforms are those whose content is here ("linux/amd64").
	Platforms []string
	// Size counts what is stored compressed, in bytes, for this machine's platform.
	Size    int64
	Created time.Time
	// Pinned images are never collected: the runtime's own, and those imported.
	Pinned bool
}

func connect(socket string) (*client.Client, error) {
	c, err := client.New(socket, client.WithDefaultNamespace(Namespace), client.WithTimeout(connectWait))
	if err != nil {
		return nil, fmt.Errorf("connect to the container runtime at %s (is `sinawi up` running?): %w", socket, err)
	}
	return c, nil
}

// Import brings the images of an archive into the runtime and returns their names.
// The archive is an OCI layout or what `docker save` writes, compressed or not, for
// one architecture or several; this machine's must be among them.
func Import(ctx context.Context, socket string, archive io.Reader) ([]string, error) {
	c, err := connect(socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return importWith(ctx, c, archive, false)
}

func importWith(ctx context.Context, c *client.Client, archive io.Reader, own bool) ([]string, error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	// Without a lease what is written so far could be collected half way.
	ctx, done, err := c.WithLease(ctx)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer done(context.WithoutCancel(ctx))
	plain, err := decompress(archive)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer plain.Close()
	imported, err := c.Import(ctx, plain, client.WithAllPlatforms(true), client.WithSkipMissing())
	if err != nil {
		return nil, fmt.Errorf("import images: the archive is neither an OCI layout nor from `docker save`, or is damaged: %w", err)
	}
	var names []string
	for _, i := range imported {
		name, err := settle(ctx, c, i, own)
		if err != nil {
			return names, err
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, errors.New("import images: the archive names no image: save it by name, not by id")
	}
	return names, nil
}

// settle gives the image its full name, unpacks it and returns the name.
func settle(ctx context.Context, c *client.Client, i images.Image, own bool) (string, error) {
	ref, err := reference.ParseDockerRef(i.Name)
	if err != nil {
		return "", fmt.Errorf("import image %q: %w", i.Name, err)
	}
	full := i
	full.Name = ref.String()
	// What somebody brought by hand may be had from nowhere else: collection, when the
	// disk is full, must not take it.
	full.Labels = map[string]string{pinnedLabel: pinned}
	if own {
		full.Labels[ownLabel] = "true"
	}
	store := c.ImageService()
	if _, err := store.Create(ctx, full); errdefs.IsAlreadyExists(err) {
		_, err = store.Update(ctx, full)
		if err != nil {
			return "", fmt.Errorf("import image %s: %w", full.Name, err)
		}
	} else if err != nil {
		return "", fmt.Errorf("import image %s: %w", full.Name, err)
	}
	if full.Name != i.Name {
		if err := store.Delete(ctx, i.Name); err != nil && !errdefs.IsNotFound(err) {
			return "", fmt.Errorf("import image %s: %w", full.Name, err)
		}
	}
	if err := client.NewImageWithPlatform(c, full, platforms.Default()).Unpack(ctx, ""); err != nil {
		return "", fmt.Errorf("unpack image %s for %s: %w", full.Name, platforms.DefaultString(), err)
	}
	return full.Name, nil
}

// ensure imports archive and pins it unless the runtime has an image of this name
// whose content is whole.
func ensure(ctx context.Context, socket, name string, archive io.Reader) error {
	c, err := connect(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	nsctx := namespaces.WithNamespace(ctx, Namespace)
	if i, err := c.GetImage(nsctx, name); err == nil {
		if ok, err := i.IsUnpacked(nsctx, ""); err == nil && ok {
			return nil
		}
	}
	_, err = importWith(ctx, c, archive, true)
	return err
}

// List returns the runtime's images by name.
func List(ctx context.Context, socket string) ([]Image, error) {
	c, err := connect(socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx = namespaces.WithNamespace(ctx, Namespace)
	stored, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []Image
	for _, i := range stored {
		ref, err := reference.Parse(i.Name)
		// CRI also keeps each image under its digest and its id, which reads like a
		// tag of an image called sha256.
		if _, named := ref.(reference.Tagged); err != nil || !named || strings.HasPrefix(i.Name, "sha256:") {
			continue
		}
		out = append(out, describe(ctx, c, i))
	}
	slices.SortFunc(out, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func describe(ctx context.Context, c *client.Client, i images.Image) Image {
	out := Image{
		Name:    i.Name,
		Digest:  i.Target.Digest.String(),
		Created: i.CreatedAt,
		Pinned:  i.Labels[pinnedLabel] == pinned,
	}
	// A size or platform that cannot be read leaves the image listed all the same.
	if size, err := i.Size(ctx, c.ContentStore(), platforms.Default()); err == nil {
		out.Size = size
	}
	if all, err := images.Platforms(ctx, c.ContentStore(), i.Target); err == nil {
		out.Platforms = present(ctx, c, i.Target, all)
	}
	return out
}

// present keeps the platforms whose manifests are here.
func present(ctx context.Context, c *client.Client, target ocispec.Descriptor, all []ocispec.Platform) []string {
	var out []string
	for _, p := range all {
		if _, _, _, missing, err := images.Check(ctx, c.ContentStore(), target, platforms.OnlyStrict(p)); err == nil && len(missing) == 0 {
			out = append(out, platforms.Format(p))
		}
	}
	return out
}

// Remove removes an image under all the names that CRI gave it, and frees its space
// unless a container uses it.
func Remove(ctx context.Context, socket, name string) error {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return fmt.Errorf("remove image %q: %w", name, err)
	}
	c, err := connect(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx = namespaces.WithNamespace(ctx, Namespace)
	store := c.ImageService()
	i, err := store.Get(ctx, ref.String())
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("remove image %s: there is no such image; `sinawi image ls` lists them", ref)
	}
	if err != nil {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	if i.Labels[ownLabel] != "" {
		return fmt.Errorf("remove image %s: pods need it to run", ref)
	}
	// Its id and digest go too once no other tag holds them.
	same, err := store.List(ctx, "target.digest=="+i.Target.Digest.String())
	if err != nil {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	for _, other := range doomed(i.Name, same) {
		if err := store.Delete(ctx, other, images.SynchronousDelete()); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove image %s: %w", ref, err)
		}
	}
	return nil
}

// doomed returns which names go when name does: itself, and the nameless ones if no
// other tag points at the same content.
func doomed(name string, same []images.Image) []string {
	names := []string{name}
	for _, i := range same {
		if i.Name == name {
			continue
		}
		ref, err := reference.Parse(i.Name)
		if err != nil {
			continue
		}
		if _, tagged := ref.(reference.Tagged); tagged {
			return names[:1]
		}
		names = append(names, i.Name)
	}
	return names
}
