package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/sinawi/sinawi/internal/version"
)

func (a *app) version() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   a.say("Show the version of Sinawi and of the API it serves", "시나위와 제공하는 API의 버전을 보여 줍니다"),
		Example: "  sinawi version\n  sinawi version -o json",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", a.say("json or yaml", "json 또는 yaml"))
	cmd.RunE = func(*cobra.Command, []string) error {
		v := struct {
			Build      string `json:"build"`
			Kubernetes string `json:"kubernetes"`
			Go         string `json:"go"`
		}{version.Build(), version.Kubernetes, version.Go()}
		if output != "" {
			return a.write(output, v)
		}
		fmt.Fprintf(a.Out, "sinawi      %s\nKubernetes  %s\nGo          %s\n", v.Build, v.Kubernetes, v.Go)
		return nil
	}
	return cmd
}

// write prints v for a program that reads it.
func (a *app) write(format string, v any) error {
	var data []byte
	var err error
	switch format {
	case "json":
		data, err = json.MarshalIndent(v, "", "  ")
		data = append(data, '\n')
	case "yaml":
		data, err = yaml.Marshal(v)
	default:
		return fmt.Errorf("-o %s: no such format; choose json or yaml, or leave -o away for a table", format)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", format, err)
	}
	_, err = a.Out.Write(data)
	return err
}
