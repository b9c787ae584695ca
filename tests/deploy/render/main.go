// Renders a Helm chart without Helm: values, the built-in objects and the functions that the templates use. What they
// do not use is left out, so that a template that goes beyond fails to parse.
//
//	render CHART RELEASE NAMESPACE [VALUES.yaml ...]
//
// The manifests go to standard output, NOTES.txt to standard error.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type values = map[string]interface{}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: render CHART RELEASE NAMESPACE [VALUES.yaml ...]")
	}
	folder := os.Args[1]
	merged := readYAML(filepath.Join(folder, "values.yaml"))
	for _, path := range os.Args[4:] {
		merge(merged, readYAML(path))
	}
	builtin := values{
		"Chart":   capitalised(readYAML(filepath.Join(folder, "Chart.yaml"))),
		"Values":  merged,
		"Release": values{"Name": os.Args[2], "Namespace": os.Args[3], "Service": "Helm"},
	}

	templates := template.New("chart").Option("missingkey=error")
	templates.Funcs(functions(templates))
	paths, err := filepath.Glob(filepath.Join(folder, "templates", "*"))
	check(err)
	sort.Strings(paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		check(err)
		template.Must(templates.New(filepath.Base(path)).Parse(string(text)))
	}
	for _, path := range paths {
		name := filepath.Base(path)
		var text bytes.Buffer
		if strings.HasPrefix(name, "_") {
			continue
		}
		check(templates.ExecuteTemplate(&text, name, builtin))
		if name == "NOTES.txt" {
			fmt.Fprint(os.Stderr, text.String())
		} else if strings.TrimSpace(text.String()) != "" {
			fmt.Printf("---\n# Source: %s\n%s\n", name, text.String())
		}
	}
}

// Sprig's without access to the environment, and Helm's own.
func functions(templates *template.Template) template.FuncMap {
	all := sprig.TxtFuncMap()
	delete(all, "env")
	delete(all, "expandenv")
	all["include"] = func(name string, data interface{}) (string, error) {
		var text strings.Builder
		err := templates.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	all["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	all["fromYaml"] = func(text string) values {
		found := values{}
		if err := yaml.Unmarshal([]byte(text), &found); err != nil {
			return values{"Error": err.Error()}
		}
		return found
	}
	return all
}

func readYAML(path string) values {
	text, err := os.ReadFile(path)
	check(err)
	found := values{}
	if err := yaml.Unmarshal(text, &found); err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	return found
}

// Mappings are merged, everything else is replaced, and null takes a key away.
func merge(into, from values) {
	for key, value := range from {
		deeper, isMap := value.(values)
		existing, wasMap := into[key].(values)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(existing, deeper)
		default:
			into[key] = value
		}
	}
}

// Chart.yaml's keys as templates name them: appVersion is .Chart.AppVersion.
func capitalised(from values) values {
	found := values{}
	for key, value := range from {
		found[strings.ToUpper(key[:1])+key[1:]] = value
	}
	return found
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
