// SPDX-License-Identifier: Apache-2.0
// Prints what Microsoft's Kusto language service says about queries: a JSON list for each line, which is a JSON string.
//
//     node kusto_check.cjs SCHEMA <QUERIES

require("@kusto/language-service-next/bridge.min");
require("@kusto/language-service-next/Kusto.Language.Bridge.min");

const { GlobalState, KustoCode, Symbols } = Kusto.Language;
const table = Symbols.TableSymbol.From(process.argv[2]).WithName("AKSAudit");
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1("logs", [table]));
const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);

for (const line of lines) {
    const found = KustoCode.ParseAndAnalyze(JSON.parse(line), globals).GetDiagnostics();
    const texts = [];
    for (let place = 0; place < found.Count; place++) {
        texts.push(`${found.getItem(place).Code} ${found.getItem(place).Message}`);
    }
    console.log(JSON.stringify(texts));
}
