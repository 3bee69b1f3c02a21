// SPDX-License-Identifier: Apache-2.0
// Runs Lucene queries, read as Elasticsearch's query_string reads them, on documents of keywords, numbers and texts.
//
//     java -cp LUCENE LuceneRunner.java DOCUMENTS QUERIES
//
// A line of DOCUMENTS is the document's number, k, l or t (keyword, long, text), a field and a value, with tabs between
// them; a line of QUERIES is one query. Prints a line for each query: the numbers of the documents that match.
//
// What Elasticsearch adds to Lucene's classic parser is in its QueryStringQueryParser: a clause of negations alone means
// all documents but these (getBooleanQuery), `_exists_:field`, and `field:>1`.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.core.KeywordAnalyzer;
import org.apache.lucene.analysis.miscellaneous.PerFieldAnalyzerWrapper;
import org.apache.lucene.analysis.standard.StandardAnalyzer;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.LongPoint;
import org.apache.lucene.document.StoredField;
import org.apache.lucene.document.StringField;
import org.apache.lucene.document.TextField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.Term;
import org.apache.lucene.queryparser.classic.ParseException;
import org.apache.lucene.queryparser.classic.QueryParser;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanClause.Occur;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.MatchAllDocsQuery;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.store.ByteBuffersDirectory;

public class LuceneRunner {
    private static final String FIELDS = "_field_names";
    private static final Map<String, Character> types = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        Map<String, Document> documents = new HashMap<>();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] part = line.split("\t", 4);
            Document document = documents.computeIfAbsent(part[0], LuceneRunner::numbered);
            types.put(part[2], part[1].charAt(0));
            document.add(new StringField(FIELDS, part[2], Field.Store.NO));
            switch (part[1]) {
                case "l" -> document.add(new LongPoint(part[2], Long.parseLong(part[3])));
                case "t" -> document.add(new TextField(part[2], part[3], Field.Store.NO));
                default -> document.add(new StringField(part[2], part[3], Field.Store.NO));
            }
        }
        Map<String, Analyzer> texts = new HashMap<>();
        types.forEach((field, type) -> { if (type == 't') texts.put(field, new StandardAnalyzer()); });
        Analyzer analyzer = new PerFieldAnalyzerWrapper(new KeywordAnalyzer(), texts);
        ByteBuffersDirectory directory = new ByteBuffersDirectory();
        try (IndexWriter writer = new IndexWriter(directory, new IndexWriterConfig(analyzer))) {
            writer.addDocuments(documents.values());
        }
        BooleanQuery.setMaxClauseCount(65536);
        try (DirectoryReader reader = DirectoryReader.open(directory)) {
            IndexSearcher searcher = new IndexSearcher(reader);
            for (String query : Files.readAllLines(Path.of(arguments[1]))) {
                StringBuilder found = new StringBuilder();
                for (ScoreDoc hit : searcher.search(new Parser(analyzer).parse(query), Integer.MAX_VALUE - 1).scoreDocs) {
                    found.append(searcher.doc(hit.doc).get("number")).append(' ');
                }
                System.out.println(found.toString().trim());
            }
        }
    }

    private static Document numbered(String number) {
        Document document = new Document();
        document.add(new StoredField("number", number));
        return document;
    }

    private static class Parser extends QueryParser {
        Parser(Analyzer analyzer) {
            super("no-default-field", analyzer);
            setAllowLeadingWildcard(true);
        }

        @Override
        protected Query getFieldQuery(String field, String text, boolean quoted) throws ParseException {
            if (field.equals("_exists_")) {
                return new TermQuery(new Term(FIELDS, text));
            }
            if (!quoted && text.matches("[<>]=?.+")) {
                String value = text.replaceFirst("[<>]=?", "");
                boolean including = text.charAt(1) == '=';
                boolean upwards = text.charAt(0) == '>';
                return getRangeQuery(field, upwards ? value : null, upwards ? null : value, including, including);
            }
            if (types.getOrDefault(field, 'k') == 'l') {
                return LongPoint.newExactQuery(field, Long.parseLong(text));
            }
            return super.getFieldQuery(field, text, quoted);
        }

        @Override
        protected Query getRangeQuery(String field, String low, String high, boolean lowest, boolean highest)
                throws ParseException {
            if (types.getOrDefault(field, 'k') != 'l') {
                return super.getRangeQuery(field, low, high, lowest, highest);
            }
            long least = low == null ? Long.MIN_VALUE : Long.parseLong(low) + (lowest ? 0 : 1);
            long most = high == null ? Long.MAX_VALUE : Long.parseLong(high) - (highest ? 0 : 1);
            return LongPoint.newRangeQuery(field, least, most);
        }

        @Override
        protected Query getBooleanQuery(List<BooleanClause> clauses) throws ParseException {
            Query query = super.getBooleanQuery(clauses);
            if (query == null || clauses.stream().anyMatch(clause -> clause.getOccur() != Occur.MUST_NOT)) {
                return query;
            }
            BooleanQuery.Builder all = new BooleanQuery.Builder().add(new MatchAllDocsQuery(), Occur.FILTER);
            clauses.forEach(all::add);
            return all.build();
        }
    }
}
