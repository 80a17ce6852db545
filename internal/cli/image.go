package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sinawi/sinawi/internal/demo"
	"github.com/sinawi/sinawi/internal/runtime/image"
)

func (a *app) image() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Short:   a.say("Import, list and remove container images on this node", "이 노드의 컨테이너 이미지를 가져오고, 보고, 지웁니다"),
		Example: "  docker save app:1 | sinawi image import -\n  sinawi image ls\n  sinawi image rm docker.io/library/app:1",
	}
	cmd.AddCommand(a.imageImport(), a.imageList(), a.imageRemove())
	return cmd
}

func (a *app) imageImport() *cobra.Command {
	var carried bool
	cmd := &cobra.Command{
		Use:     "import FILE...",
		Short:   a.say("Import images from archives made by docker save or as OCI layouts; - reads standard input", "docker save나 OCI 레이아웃 아카이브에서 이미지를 가져옵니다. -는 표준 입력입니다"),
		Example: "  sinawi image import app.tar\n  docker save app:1 | sinawi image import -\n  sinawi image import --demo",
	}
	cmd.Flags().BoolVar(&carried, "demo", false, a.say("import "+demo.ImageName+", which is carried in this binary", "이 바이너리에 든 "+demo.ImageName+" 이미지를 가져옵니다"))
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		if !carried && len(files) == 0 {
			return fmt.Errorf("%s", a.say("name an archive to import, or - for standard input; see sinawi image import --help", "가져올 아카이브나 표준 입력을 뜻하는 -를 주세요. sinawi image import --help를 보세요"))
		}
		dir, err := a.instance()
		if err != nil {
			return err
		}
		if carried {
			if err := demo.ImportImage(cmd.Context(), dir.RuntimeSocket()); err != nil {
				return err
			}
			a.printf("imported %s\n", "가져옴 %s\n", demo.ImageName)
		}
		for _, name := range files {
			if err := a.importFile(cmd.Context(), dir.RuntimeSocket(), name); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func (a *app) importFile(ctx context.Context, socket, name string) error {
	var archive io.Reader = a.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("import image: %w", err)
		}
		defer file.Close()
		archive = file
	}
	names, err := image.Import(ctx, socket, archive)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, n := range names {
		a.printf("imported %s\n", "가져옴 %s\n", n)
	}
	return nil
}

func (a *app) imageList() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   a.say("List the images on this node", "이 노드의 이미지를 보여 줍니다"),
		Example: "  sinawi image ls\n  sinawi image ls -o json",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", a.say("json or yaml", "json 또는 yaml"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.instance()
		if err != nil {
			return err
		}
		images, err := image.List(cmd.Context(), dir.RuntimeSocket())
		if err != nil {
			return err
		}
		if output != "" {
			listed := make([]listedImage, 0, len(images))
			for _, i := range images {
				listed = append(listed, listedImage{i.Name, i.Digest, i.Size, i.Platforms, i.Pinned})
			}
			return a.write(output, listed)
		}
		w := tabwriter.NewWriter(a.Out, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "IMAGE\tDIGEST\tSIZE")
		for _, i := range images {
			fmt.Fprintf(w, "%s\t%.19s\t%.1f MB\n", i.Name, i.Digest, float64(i.Size)/1e6)
		}
		return w.Flush()
	}
	return cmd
}

// listedImage is an image as programs read it.
type listedImage struct {
	Name      string   `json:"name"`
	Digest    string   `json:"digest"`
	Size      int64    `json:"size"` // bytes, compressed
	Platforms []string `json:"platforms"`
	Pinned    bool     `json:"pinned"`
}

func (a *app) imageRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "rm IMAGE...",
		Aliases: []string{"remove"},
		Short:   a.say("Remove images from this node", "이 노드에서 이미지를 지웁니다"),
		Example: "  sinawi image rm docker.io/library/app:1",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			dir, err := a.instance()
			if err != nil {
				return err
			}
			for _, n := range names {
				if err := image.Remove(cmd.Context(), dir.RuntimeSocket(), n); err != nil {
					return err
				}
				a.printf("removed %s\n", "지움 %s\n", n)
			}
			return nil
		},
	}
}
